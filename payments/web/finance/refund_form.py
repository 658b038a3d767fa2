"""The refund form of one payment, for a colleague of finance with a recent proof of identity.

It shows what can still be refunded, what was, and what waits for a second colleague. Each
rendered form has an idempotency key: sent twice, it is one refund.
"""

from typing import Any

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from payments.accounting.reports.transaction_filters import stripe_id_pattern
from payments.core import amount_input, money
from payments.core.errors import (
    IdempotencyKeyReused,
    InvalidField,
    NotFound,
    PaymentsError,
    StripeUnavailable,
)
from payments.core.identifiers import is_row_id, new_row_id
from payments.core.money import InvalidAmount, Money
from payments.giving import charges
from payments.infra.context import Context
from payments.infra.second_person import Actor, DecisionOutcome, DecisionRefused
from payments.settlement import refund_proposals, refund_requests, refunds
from payments.settlement.refund_proposals import RefundProposal
from payments.settlement.refunds import Refund, RefundReason
from payments.staff.accounts import Staff
from payments.web.account import view_models
from payments.web.forms import (
    SMALL_FORM_BYTES,
    AnyRequest,
    form_data,
    idempotency_key,
    parse_count,
    select_options,
)
from payments.web.staff import layout
from payments.web.staff.guards import StepUp

CHARGE_ID_PATTERN = stripe_id_pattern("ch", "py")
REASON_LABELS = {
    RefundReason.REQUESTED_BY_CUSTOMER: "The donor asked for it",
    RefundReason.DUPLICATE: "It was paid twice",
    RefundReason.FRAUDULENT: "The card was not the payer's",
}
REFUND_STATUS_LABELS = {
    "requested": "Stripe has not answered",
    "rejected": "Stripe would not",
    "requires_action": "The donor must act",
    "pending": "On its way",
    "succeeded": "Sent",
    "failed": "Did not arrive; the money is with us",
    "canceled": "Taken back",
    "unknown": "Unknown here: see Stripe",
}
OUTCOME_LABELS = {
    DecisionOutcome.APPROVED: "Approved",
    DecisionOutcome.REFUSED: "Refused",
    DecisionOutcome.WITHDRAWN: "Withdrawn",
    DecisionOutcome.EXPIRED: "Nobody decided within seven days",
}
DECISION_ERRORS = (
    DecisionRefused,
    InvalidField,
    refund_requests.RefundNotPossible,
    refund_requests.RefundTooMuch,
)


REFUSALS = (  # of the whole form, not of a field
    refund_requests.RefundNotPossible,
    refund_requests.RefundedMeanwhile,
    IdempotencyKeyReused,
    StripeUnavailable,
)


class RefundPages(Controller):
    """The form of one payment."""

    path = "/finance/refund/{charge_id:str}"
    include_in_schema = False
    guards = [StepUp()]  # noqa: RUF012 - litestar's own

    @get()
    async def refund_form(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
        charge_id: FromPath[str],
    ) -> Response[str]:
        """Show what is left of a payment, and the form."""
        return await _render(ctx, colleague, charge_id, done=request.query_params.get("done", ""))

    @post(request_max_body_size=SMALL_FORM_BYTES)
    async def submit(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
        charge_id: FromPath[str],
    ) -> Response[Any]:
        """Refund the amount of the form, or propose it where a second colleague has to agree."""
        fields = await form_data(request)
        try:
            made = await _request_refund(ctx, colleague, charge_id, fields)
        except (InvalidAmount, InvalidField, refund_requests.RefundTooMuch) as error:
            return await _render(ctx, colleague, charge_id, fields, error=error)
        except REFUSALS as error:
            return await _render(ctx, colleague, charge_id, fields, error=error, error_field="all")
        done = "proposed" if isinstance(made, RefundProposal) else "yes"
        return Redirect(f"/finance/refund/{charge_id}?done={done}", status_code=303)

    @post("/{decision:str}", request_max_body_size=SMALL_FORM_BYTES)
    async def decide(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
        charge_id: FromPath[str],
        decision: FromPath[str],
    ) -> Response[Any]:
        """Approve or refuse a refund that was proposed: `decision` is one of the two."""
        fields = await form_data(request)
        proposal_id = fields.get("proposal", "")
        if decision not in ("approve", "refuse") or not is_row_id(proposal_id):
            raise NotFound("There is no such refund.")
        left = await _refundable(ctx, charge_id)
        by = Actor(colleague.id, colleague.name)
        try:
            if decision == "approve":
                shown = Money(parse_count(fields.get("shown", "")) or 0, left.currency)
                await refund_proposals.approve(
                    ctx, proposal_id, charge_id=charge_id, shown=shown, by=by
                )
            else:
                why = fields.get("why", "")
                await refund_proposals.refuse(ctx, proposal_id, charge_id=charge_id, why=why, by=by)
        except DECISION_ERRORS as error:
            return await _render(ctx, colleague, charge_id, error=error, error_field="decision")
        done = "yes" if decision == "approve" else "refused"
        return Redirect(f"/finance/refund/{charge_id}?done={done}", status_code=303)


async def _request_refund(
    ctx: Context, colleague: Staff, charge_id: str, fields: dict[str, str]
) -> Refund | RefundProposal:
    left = await _refundable(ctx, charge_id)
    try:
        amount = amount_input.parse_amount(fields.get("amount", ""), left.currency)
    except InvalidAmount:
        raise InvalidField(
            "Type an amount such as 12.50. Nothing was refunded.", field="amount"
        ) from None
    try:
        reason = RefundReason(fields.get("reason", ""))
    except ValueError:
        raise InvalidField("Choose why. Nothing was refunded.", field="reason") from None
    return await refund_proposals.request(
        ctx,
        charge_id,
        amount,
        reason=reason,
        by=Actor(colleague.id, colleague.name),
        idempotency_key=idempotency_key(fields),
        seen=parse_count(fields.get("seen", "")),
    )


async def _refundable(ctx: Context, charge_id: str) -> Money:
    """How much of a payment can still be refunded or proposed. Raises NotFound."""
    not_found = NotFound("There is no such payment.")
    if not CHARGE_ID_PATTERN.fullmatch(charge_id):
        raise not_found
    async with ctx.sessions() as session:
        if await session.get(charges.Charge, charge_id) is None:
            raise not_found
        whole = await refunds.refundable_amount(session, charge_id)
        waiting = await refund_proposals.waiting_amount(session, charge_id, now=ctx.now())
    return Money(max(whole.amount - waiting, 0), whole.currency)


async def _render(
    ctx: Context,
    colleague: Staff,
    charge_id: str,
    fields: dict[str, str] | None = None,
    *,
    done: str = "",
    error: PaymentsError | None = None,
    error_field: str = "",
) -> Response[str]:
    left = await _refundable(ctx, charge_id)
    async with ctx.sessions() as session:
        charge = await session.get_one(charges.Charge, charge_id)
        earlier_refunds = await refunds.list_for_charge(session, charge_id)
        proposals = await refund_proposals.list_for_charge(session, charge_id)
        seen = await refund_proposals.count_earlier(session, charge_id)
        why_not = await refund_requests.why_not_refundable(session, charge)
    fields = fields or {}
    reasons = [("", "Choose"), *((reason.value, text) for reason, text in REASON_LABELS.items())]
    return layout.render(
        ctx,
        "finance_refund_form.html",
        colleague,
        active_url="/finance/refunds",
        status=200 if error is None else error.status,
        charge_id=charge_id,
        paid=money.format(Money(charge.amount, charge.currency)),
        paid_at=view_models.format_minute(ctx, charge.charged_at),
        left=money.format(left),
        why_not=why_not or ("" if left.amount > 0 else "All of it waits for a second colleague."),
        seen=seen,
        currency=left.currency.upper(),
        amount=fields.get("amount", amount_input.format_for_input(left)),
        reasons=select_options(reasons, fields.get("reason", "")),
        idempotency_key=new_row_id(),
        done=done,
        error="" if error is None else error.detail,
        error_field=error_field or ("" if error is None else error.field or "amount"),
        has_limit=bool(ctx.settings.refund_limit),
        proposals=[_proposal_view(ctx, one, colleague) for one in proposals],
        earlier_refunds=[_refund_view(ctx, refund) for refund in earlier_refunds],
    )


def _proposal_view(ctx: Context, proposal: RefundProposal, colleague: Staff) -> dict[str, Any]:
    is_waiting = proposal.is_waiting(ctx.now())
    decided = "" if proposal.decided_by is None else proposal.decided_by
    return {
        "id": proposal.id,
        "amount": money.format(proposal.money),
        "shown": proposal.amount,
        "reason": REASON_LABELS[proposal.reason],
        "asked": f"{proposal.proposed_by}, {view_models.format_minute(ctx, proposal.proposed_at)}",
        "until": view_models.format_minute(ctx, proposal.expires_at),
        "is_waiting": is_waiting,
        "is_own": proposal.proposed_by_id == colleague.id,
        "status": OUTCOME_LABELS[proposal.outcome or DecisionOutcome.EXPIRED],
        "decided": decided,
        "refusal": proposal.refusal,
    }


def _refund_view(ctx: Context, refund: Refund) -> dict[str, str]:
    return {
        "amount": money.format(refund.money),
        "status": REFUND_STATUS_LABELS[refund.status],
        "at": view_models.format_minute(ctx, refund.requested_at),
    }
