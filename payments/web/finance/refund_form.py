"""The refund form of one payment, for a colleague of finance with a recent proof of identity.

It shows what can still be refunded, and what was. Each rendered form has an idempotency key: sent
twice, it is one refund.
"""

from typing import Any

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from payments.accounting.reports.transaction_filters import stripe_id_pattern
from payments.core import amount_input, money
from payments.core.errors import InvalidField, NotFound, PaymentsError
from payments.core.identifiers import new_row_id
from payments.core.money import InvalidAmount, Money
from payments.giving import charges
from payments.infra.audit_log import AuditAction
from payments.infra.context import Context
from payments.settlement import refund_requests, refunds
from payments.settlement.refunds import Refund, RefundReason
from payments.staff import accounts
from payments.staff.accounts import Staff
from payments.web.account import view_models
from payments.web.forms import (
    SMALL_FORM_BYTES,
    AnyRequest,
    form_data,
    idempotency_key,
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
        return await _render(
            ctx, colleague, charge_id, done=request.query_params.get("done") == "yes"
        )

    @post(request_max_body_size=SMALL_FORM_BYTES)
    async def submit(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
        charge_id: FromPath[str],
    ) -> Response[Any]:
        """Refund the amount of the form."""
        fields = await form_data(request)
        try:
            await _request_refund(ctx, colleague, charge_id, fields)
        except (InvalidAmount, InvalidField, refund_requests.RefundTooMuch) as error:
            return await _render(ctx, colleague, charge_id, fields, error=error)
        return Redirect(f"/finance/refund/{charge_id}?done=yes", status_code=303)


async def _request_refund(
    ctx: Context, colleague: Staff, charge_id: str, fields: dict[str, str]
) -> None:
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
    async with ctx.sessions.begin() as session:
        await accounts.record_action(
            session,
            AuditAction.REFUND_REQUESTED,
            colleague,
            object_id=charge_id,
            reason=f"{money.format(amount)}, {reason}",
            now=ctx.now(),
        )
    await refund_requests.request(
        ctx,
        charge_id,
        amount=amount.amount,
        reason=reason,
        staff_id=colleague.id,
        idempotency_key=idempotency_key(fields),
    )


async def _refundable(ctx: Context, charge_id: str) -> Money:
    """How much of a payment can still be refunded. Raises NotFound."""
    not_found = NotFound("There is no such payment.")
    if not CHARGE_ID_PATTERN.fullmatch(charge_id):
        raise not_found
    async with ctx.sessions() as session:
        if await session.get(charges.Charge, charge_id) is None:
            raise not_found
        return await refunds.refundable_amount(session, charge_id)


async def _render(
    ctx: Context,
    colleague: Staff,
    charge_id: str,
    fields: dict[str, str] | None = None,
    *,
    done: bool = False,
    error: PaymentsError | None = None,
) -> Response[str]:
    left = await _refundable(ctx, charge_id)
    async with ctx.sessions() as session:
        charge = await session.get_one(charges.Charge, charge_id)
        earlier_refunds = await refunds.list_for_charge(session, charge_id)
    fields = fields or {}
    reasons = [("", "Choose"), *((reason.value, text) for reason, text in REASON_LABELS.items())]
    return layout.render(
        ctx,
        "finance_refund_form.html",
        colleague,
        active_url="/finance",
        status=200 if error is None else error.status,
        charge_id=charge_id,
        paid=money.format(Money(charge.amount, charge.currency)),
        paid_at=view_models.format_minute(ctx, charge.charged_at),
        left=money.format(left),
        is_refundable=left.amount > 0 and charge.status is charges.ChargeStatus.SUCCEEDED,
        currency=left.currency.upper(),
        amount=fields.get("amount", amount_input.format_for_input(left)),
        reasons=select_options(reasons, fields.get("reason", "")),
        idempotency_key=new_row_id(),
        done=done,
        error="" if error is None else error.detail,
        error_field="" if error is None else error.field or "amount",
        earlier_refunds=[_refund_view(ctx, refund) for refund in earlier_refunds],
    )


def _refund_view(ctx: Context, refund: Refund) -> dict[str, str]:
    return {
        "amount": money.format(refund.money),
        "status": REFUND_STATUS_LABELS[refund.status],
        "at": view_models.format_minute(ctx, refund.requested_at),
    }
