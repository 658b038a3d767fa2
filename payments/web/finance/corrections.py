"""Corrections: what colleagues moved between accounts, what waits for a second, and the forms.

The page of a transaction shows what stands in its accounts, the form that moves it, and every
correction there was, each with what can be decided of it.
"""

from datetime import UTC, date, datetime
from typing import Any

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from payments.accounting import corrections
from payments.accounting.corrections import CorrectableTransaction, CorrectionView, Proposal
from payments.accounting.reports.transaction_filters import stripe_id_pattern
from payments.core import amount_input, money
from payments.core.errors import InvalidField, NotFound, PaymentsError
from payments.core.identifiers import is_row_id
from payments.core.money import InvalidAmount, Money
from payments.infra.context import Context
from payments.infra.second_person import Actor, DecisionRefused
from payments.ledger.corrections import CORRECTABLE_ACCOUNTS
from payments.ledger.posting_rules import LedgerAccount
from payments.staff.accounts import Staff
from payments.web.finance import filters
from payments.web.finance.formats import format_minute, format_month
from payments.web.forms import (
    SMALL_FORM_BYTES,
    AnyRequest,
    count_parameter,
    form_data,
    parse_count,
    query_string,
    select_options,
)
from payments.web.staff import layout
from payments.web.staff.guards import StepUp

CORRECTIONS_URL = "/finance/corrections"
TRANSACTION_PATTERN = stripe_id_pattern("txn")
STEP_UP = StepUp(form_url=f"{CORRECTIONS_URL}/{{object_id}}")
STATUS_LABELS = {
    "booked": "In the books",
    "waiting": "Waits for a second colleague",
    "refused": "Refused",
    "withdrawn": "Withdrawn",
}


class CorrectionPages(Controller):
    """The list, and the page of one transaction."""

    path = CORRECTIONS_URL
    include_in_schema = False

    @get()
    async def list_corrections(
        self, ctx: NamedDependency[Context], request: AnyRequest, colleague: NamedDependency[Staff]
    ) -> Response[str]:
        """Show the corrections that are booked in a period, the newest first."""
        params, of = filters.period_or_default(ctx, request.query_params)
        async with ctx.sessions() as session:
            views, more = await corrections.list_page(
                session, of, offset=count_parameter(request, "after")
            )
        return layout.render(
            ctx,
            "finance_corrections.html",
            colleague,
            active_url="/finance/periods",
            transaction="",
            error="",
            corrections=[_view(ctx, one, colleague) for one in views],
            next_url=f"{CORRECTIONS_URL}{query_string(**params, after=more)}" if more else "",
            picker=filters.period_picker(ctx, params),
        )

    @get("/{object_id:str}")
    async def show(
        self,
        ctx: NamedDependency[Context],
        colleague: NamedDependency[Staff],
        object_id: FromPath[str],
    ) -> Response[str]:
        """Show what stands in the accounts of a transaction, and the form."""
        return await _render(ctx, colleague, object_id)

    @post("/{object_id:str}", request_max_body_size=SMALL_FORM_BYTES, guards=[STEP_UP])
    async def propose(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
        object_id: FromPath[str],
    ) -> Response[Any]:
        """Book or propose the correction of the form."""
        fields = await form_data(request)
        found = await _transaction(ctx, object_id)
        seen = parse_count(fields.get("seen", ""))
        try:
            amount = _parse_amount(fields.get("amount", ""), found.transaction.currency)
            proposal = Proposal(
                object_id,
                fields.get("from_account", ""),
                fields.get("to_account", ""),
                amount.amount,
                found.transaction.currency,
                fields.get("reason", ""),
                seen=-1 if seen is None else seen,
                booked_on=_parse_day(fields.get("booked_on", "")),
            )
            await corrections.propose(ctx, proposal, by=Actor(colleague.id, colleague.name))
        except (InvalidField, DecisionRefused) as error:
            return await _render(ctx, colleague, object_id, fields, error=error)
        return Redirect(f"{CORRECTIONS_URL}/{object_id}", status_code=303)

    @post(
        "/{object_id:str}/{decision:str}",
        request_max_body_size=SMALL_FORM_BYTES,
        guards=[STEP_UP],
    )
    async def decide(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
        object_id: FromPath[str],
        decision: FromPath[str],
    ) -> Response[Any]:
        """Approve or refuse a correction of the transaction: `decision` is one of the two."""
        fields = await form_data(request)
        correction_id = fields.get("correction", "")
        if decision not in ("approve", "refuse") or not is_row_id(correction_id):
            raise NotFound("There is no such correction.")
        by = Actor(colleague.id, colleague.name)
        try:
            if decision == "approve":
                await corrections.approve(ctx, correction_id, by=by)
            else:
                reason = fields.get("reason", "")
                await corrections.refuse(ctx, correction_id, reason=reason, by=by)
        except (InvalidField, DecisionRefused) as error:
            return await _render(ctx, colleague, object_id, error=error)
        return Redirect(f"{CORRECTIONS_URL}/{object_id}", status_code=303)


async def _transaction(ctx: Context, transaction_id: str) -> CorrectableTransaction:
    if not TRANSACTION_PATTERN.fullmatch(transaction_id):
        raise NotFound(corrections.NOT_IN_BOOKS)
    return await corrections.get_transaction(ctx, transaction_id)


def _parse_amount(value: str, currency: str) -> Money:
    try:
        return amount_input.parse_amount(value, currency)
    except InvalidAmount:
        raise InvalidField(
            "Type an amount such as 12.50. Nothing was done.", field="amount"
        ) from None


def _parse_day(value: str) -> date | None:
    """Return a day such as 2026-11-30; None where it was left out."""
    if not value:
        return None
    try:
        return datetime.strptime(value, "%Y-%m-%d").replace(tzinfo=UTC).date()
    except ValueError:
        raise InvalidField(
            "Choose a day such as 2026-11-30. Nothing was done.", field="booked_on"
        ) from None


async def _render(
    ctx: Context,
    colleague: Staff,
    transaction_id: str,
    fields: dict[str, str] | None = None,
    *,
    error: PaymentsError | None = None,
) -> Response[str]:
    found = await _transaction(ctx, transaction_id)
    currency, fields = found.transaction.currency, fields or {}
    free = sorted(found.free, key=lambda one: (one is not LedgerAccount.SUSPENSE, one))
    most = Money(abs(found.free[free[0]]), currency) if free else Money(0, currency)
    targets = [str(one) for one in CORRECTABLE_ACCOUNTS if one is not LedgerAccount.SUSPENSE]
    return layout.render(
        ctx,
        "finance_corrections.html",
        colleague,
        active_url="/finance/periods",
        status=200 if error is None else error.status,
        transaction=transaction_id,
        standing=[
            (account, money.format(Money(abs(sum_), currency)), "debit" if sum_ > 0 else "credit")
            for account, sum_ in found.standing.items()
        ],
        is_correctable=bool(free),
        seen=len(found.corrections),
        currency=currency.upper(),
        booked_on=fields.get("booked_on", found.booked_on.isoformat()),
        first_day=max(found.occurred_on, found.first_open or found.occurred_on).isoformat(),
        last_day=filters.today(ctx).isoformat(),
        amount=fields.get("amount", amount_input.format_for_input(most)),
        reason=fields.get("reason", ""),
        from_accounts=select_options(
            [(str(one), str(one)) for one in free], fields.get("from_account", "")
        ),
        to_accounts=select_options(
            [("", "Choose"), *((one, one) for one in targets)], fields.get("to_account", "")
        ),
        error="" if error is None else error.detail,
        corrections=[_view(ctx, one, colleague) for one in found.corrections],
        next_url="",
    )


def _view(ctx: Context, view: CorrectionView, colleague: Staff) -> dict[str, Any]:
    correction, decision = view.correction, view.decision
    concerns = correction.concerns_month
    return {
        "id": correction.id,
        "transaction": correction.balance_transaction,
        "amount": money.format(Money(correction.amount, correction.currency)),
        "from_account": correction.from_account,
        "to_account": str(correction.to_account),
        "booked_on": correction.booked_on.isoformat(),
        "concerns": "" if concerns is None else format_month(concerns),
        "reason": correction.reason,
        "proposed": f"{correction.proposed_by}, {format_minute(ctx, correction.proposed_at)}",
        "decided": ""
        if decision is None
        else f"{decision.decided_by}, {format_minute(ctx, decision.decided_at)}",
        "refusal": "" if decision is None else decision.reason,
        "status": STATUS_LABELS[view.status],
        "is_waiting": view.status == "waiting",
        "is_own": correction.proposed_by_id == colleague.id,
    }
