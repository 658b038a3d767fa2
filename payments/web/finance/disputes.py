"""Disputes: the rate beside the card networks' thresholds, what waits for an answer, the answer.

The page of one dispute shows what is staged at Stripe and the form for it: leave it there, or send
it to the donor's bank, or accept the dispute. What became of it is in the audit log, with no word
of the texts.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect
from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting.reports import dispute_rates, refunds_and_disputes
from payments.accounting.reports.dispute_rates import DisputeMonth, NetworkRule
from payments.accounting.reports.period import ALL_TIME
from payments.accounting.reports.transaction_filters import stripe_id_pattern
from payments.core import money
from payments.core.calendar import from_unix, months_before, next_month
from payments.core.errors import InvalidField, NotFound, PaymentsError
from payments.core.identifiers import new_row_id
from payments.core.money import Money
from payments.infra.audit_log import AuditAction
from payments.infra.context import Context
from payments.settlement import dispute_evidence
from payments.settlement.dispute_evidence import EvidenceField, EvidenceRefused, StagedEvidence
from payments.staff import accounts
from payments.staff.accounts import Staff
from payments.web.finance import filters, layout
from payments.web.finance.formats import format_count, format_month
from payments.web.finance.refunds_and_disputes import (
    DISPUTE_STATUS_LABELS,
    disputes_table,
    evidence_deadline,
)
from payments.web.finance.tables import EMPTY_CELL, Cell, Table, table
from payments.web.forms import AnyRequest, count_parameter, form_data, idempotency_key
from payments.web.staff import layout as staff_layout
from payments.web.staff.guards import StepUp

DISPUTES_URL = "/finance/disputes"
MONTHS_SHOWN = 13
FORM_BYTES = 400_000  # eight texts of twenty thousand characters, some of them of two bytes
DISPUTE_ID_PATTERN = stripe_id_pattern("dp", "du")
STEP_UP = StepUp(form_url=f"{DISPUTES_URL}/{{dispute_id}}")
FIELD_LABELS = {
    EvidenceField.PRODUCT_DESCRIPTION: "What was paid for",
    EvidenceField.SERVICE_DATE: "On which day it was given or began",
    EvidenceField.CANCELLATION_POLICY_DISCLOSURE: "Where it was said how to cancel",
    EvidenceField.CANCELLATION_REBUTTAL: "Why it was not cancelled before the payment",
    EvidenceField.REFUND_POLICY_DISCLOSURE: "Where it was said what is refunded",
    EvidenceField.REFUND_REFUSAL_EXPLANATION: "Why it was not refunded",
    EvidenceField.DUPLICATE_CHARGE_EXPLANATION: "Why it is not the same payment twice",
    EvidenceField.UNCATEGORIZED_TEXT: "Anything else the bank should know",
}
OUTCOMES = {
    "staged": "The evidence is staged at Stripe. The bank has not seen it.",
    "sent": "The evidence was sent to the donor's bank. Its decision can take three months.",
    "accepted": "The dispute was accepted: it is lost, and the money stays with the donor.",
}


class DisputePages(Controller):
    """The page of disputes, and the one of each."""

    path = DISPUTES_URL
    include_in_schema = False

    @get()
    async def list_open(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[str]:
        """Show thirteen months' rates, and what waits for an answer by its day."""
        zone, until = ctx.settings.accounting_zoneinfo, next_month(filters.today(ctx))
        offset = count_parameter(request, "after")
        async with ctx.sessions() as session:
            months = await list_rates(ctx, session)
            page, more = await refunds_and_disputes.list_disputes(
                session, zone, ALL_TIME, offset=offset
            )
        waiting = [dispute for dispute in page if dispute.is_open]
        has_more = more is not None and len(waiting) == len(page)
        return await layout.render(
            ctx,
            "finance_disputes.html",
            colleague,
            request=request,
            title="Disputes",
            active_url="/finance/refunds",
            until=until,
            sentences=_rule_sentences(months[0]),
            rates=_rates_table(months),
            rules=[_rule_facts(rule) for rule in dispute_rates.RULES],
            read_in=dispute_rates.READ_IN,
            waiting=replace(
                disputes_table(
                    ctx,
                    waiting,
                    "Waiting for our answer, the most urgent first",
                    empty="No dispute waits for an answer.",
                ),
                sorted_by_query=None,
                is_sortable=not (has_more or offset),
            ),
            next_url=f"{DISPUTES_URL}?after={more}" if has_more else "",
        )

    @get("/{dispute_id:str}", guards=[STEP_UP])
    async def show(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
        dispute_id: FromPath[str],
    ) -> Response[str]:
        """Show a dispute as it is at Stripe now, and the form of its answer."""
        done = OUTCOMES.get(request.query_params.get("done", ""), "")
        return await _render(ctx, colleague, dispute_id, done=done)

    @post("/{dispute_id:str}", request_max_body_size=FORM_BYTES, guards=[STEP_UP])
    async def answer(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
        dispute_id: FromPath[str],
    ) -> Response[Any]:
        """Keep the evidence of the form at Stripe, send it, or accept the dispute."""
        fields = await form_data(request)
        _require_id(dispute_id)
        act = fields.get("act", "")
        try:
            await _act(ctx, colleague, dispute_id, act, fields)
        except (InvalidField, EvidenceRefused) as error:
            return await _render(ctx, colleague, dispute_id, fields, error=error)
        return Redirect(f"{DISPUTES_URL}/{dispute_id}?done={act}", status_code=303)


# --- the answer -----------------------------------------------------------------------------------

_ACTIONS = {
    "staged": AuditAction.EVIDENCE_STAGED,
    "sent": AuditAction.EVIDENCE_SENT,
    "accepted": AuditAction.DISPUTE_ACCEPTED,
}


async def _act(
    ctx: Context, colleague: Staff, dispute_id: str, act: str, fields: dict[str, str]
) -> None:
    """Do what the form says, and record what became of it."""
    if act not in _ACTIONS:
        raise InvalidField("Choose what to do. Nothing was sent.", field="act")
    if act == "accepted" and fields.get("sure") != "yes":
        raise InvalidField(
            "Tick that the dispute is to be given up. Nothing was changed.", field="sure"
        )
    seen = fields.get("seen", "")
    try:
        if act == "accepted":
            await dispute_evidence.accept(ctx, dispute_id, seen_version=seen)
        else:
            await dispute_evidence.save(
                ctx,
                dispute_id,
                {field: fields.get(field, "") for field in EvidenceField},
                submit=act == "sent",
                names_nobody=fields.get("names_nobody") == "yes",
                seen_version=seen,
                idempotency_key=idempotency_key(fields),
            )
    except InvalidField:
        raise  # nothing was asked of Stripe
    except PaymentsError as error:
        await _record(
            ctx, colleague, AuditAction.DISPUTE_ANSWER_FAILED, dispute_id, f"{act}: {error.code}"
        )
        raise
    await _record(ctx, colleague, _ACTIONS[act], dispute_id)


async def _record(
    ctx: Context, colleague: Staff, action: AuditAction, dispute_id: str, reason: str = ""
) -> None:
    async with ctx.sessions.begin() as session:
        await accounts.record_action(
            session, action, colleague, object_id=dispute_id, reason=reason, now=ctx.now()
        )


def _require_id(dispute_id: str) -> None:
    if not DISPUTE_ID_PATTERN.fullmatch(dispute_id):
        raise NotFound("There is no such dispute.")


async def _render(
    ctx: Context,
    colleague: Staff,
    dispute_id: str,
    fields: dict[str, str] | None = None,
    *,
    done: str = "",
    error: PaymentsError | None = None,
) -> Response[str]:
    _require_id(dispute_id)
    staged = await dispute_evidence.load(ctx, dispute_id)
    async with ctx.sessions() as session:
        row = await refunds_and_disputes.get_dispute(session, dispute_id)
    deadline = evidence_deadline(ctx, row)
    is_quarantined = await dispute_evidence.is_quarantined(ctx, str(staged.dispute.charge))
    may_change = staff_layout.may_change(colleague)
    return staff_layout.render(
        ctx,
        "finance_dispute.html",
        colleague,
        active_url="/finance/refunds",
        status=200 if error is None else error.status,
        dispute_id=dispute_id,
        url=f"{DISPUTES_URL}/{dispute_id}",
        dispute_facts=_facts(ctx, staged),
        deadline=deadline.text if isinstance(deadline, Cell) else deadline,
        evidence=_evidence_view(staged, fields) if may_change else [],
        has_other_fields=staged.has_other_fields,
        is_answerable=staged.is_answerable(ctx.now().timestamp()) and not is_quarantined,
        is_acceptable=staged.dispute.status == "needs_response",
        is_inquiry=staged.dispute.status.startswith("warning_"),
        is_quarantined=is_quarantined,
        has_policy=ctx.settings.safety_policy is not None,
        # The form of a refusal keeps what its texts were made from: it is refused until it is
        # opened again.
        seen=staged.version if fields is None else fields.get("seen", ""),
        idempotency_key=new_row_id(),
        done=done,
        error="" if error is None else error.detail,
        error_field="" if error is None else error.field or "",
    )


def _evidence_view(
    staged: StagedEvidence, fields: dict[str, str] | None
) -> list[dict[str, object]]:
    return [
        {
            "name": field.value,
            "label": label,
            "text": staged.texts[field] if fields is None else fields.get(field, ""),
        }
        for field, label in FIELD_LABELS.items()
    ]


def _facts(ctx: Context, staged: StagedEvidence) -> list[tuple[str, str]]:
    dispute = staged.dispute
    opened = from_unix(dispute.created).astimezone(ctx.settings.accounting_zoneinfo)
    status = DISPUTE_STATUS_LABELS.get(dispute.status, DISPUTE_STATUS_LABELS["unknown"])
    return [
        ("Amount", money.format(Money(dispute.amount, dispute.currency))),
        ("Opened", f"{opened:%Y-%m-%d %H:%M}"),
        ("Reason, in the bank's word", dispute.reason.replace("_", " ").capitalize()),
        ("Status at Stripe now", status),
    ]


# --- the rate -------------------------------------------------------------------------------------


def _rate(month: DisputeMonth, rule: NetworkRule) -> str:
    divisor = month.divisor(rule)
    return f"{100 * month.count(rule) / divisor:.2f} %" if divisor else EMPTY_CELL


def _rule_sentences(month: DisputeMonth) -> list[dict[str, object]]:
    """Say of the newest month how far it is from each rule."""
    return [
        {
            "text": (
                f"{rule.name}: {format_count(month.count(rule))} this month, and the network acts"
                f" from {format_count(rule.min_count)}; rate {_rate(month, rule)}, and it acts"
                f" from {rule.basis_points / 100:g} %. Both must be reached."
            ),
            "is_reached": month.reaches(rule),
        }
        for rule in dispute_rates.RULES
    ]


async def list_rates(ctx: Context, session: AsyncSession) -> Sequence[DisputeMonth]:
    """Return the rates of MONTHS_SHOWN months, newest first, of which this is one."""
    until = next_month(filters.today(ctx))
    return await dispute_rates.by_month(
        session,
        ctx.settings.accounting_zoneinfo,
        since=months_before(until, MONTHS_SHOWN),
        until=until,
    )


def _rates_table(months: Sequence[DisputeMonth]) -> Table:
    rows: list[list[str | Cell]] = [
        [
            format_month(month.month),
            format_count(month.payments),
            format_count(month.disputes),
            format_count(month.inquiries),
            format_count(month.fraud_warnings),
            *(
                Cell(_rate(month, rule), tone="bad" if month.reaches(rule) else "")
                for rule in dispute_rates.RULES
            ),
        ]
        for month in months
    ]
    columns = ["Month", "#Payments", "#Disputed payments", "#Inquiries", "#Fraud warnings",
               "#Visa's rate", "#Mastercard's rate"]  # fmt: skip
    return table("rates", "Dispute rate by month, the newest first", columns, rows)


def _rule_facts(rule: NetworkRule) -> tuple[str, str]:
    words = (
        f"at least {format_count(rule.min_count)} {rule.counts}, and at least"
        f" {rule.basis_points / 100:g} % of {rule.over}, both in one month; since {rule.since}"
        f" ({rule.source})"
    )
    return rule.name, words
