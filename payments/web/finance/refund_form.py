"""A refund, asked for by a colleague of finance who proved a moment ago who they are.

The page shows what can still be given back, and what was. Its form has a random name of its own:
sent twice it is one refund.
"""

import re
import secrets
from typing import Any

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from payments.core import amount_input, money
from payments.core.errors import InvalidField, NotFound, PaymentsError
from payments.core.money import InvalidAmount, Money
from payments.giving import charges
from payments.infra.audit_log import Deed
from payments.infra.context import Runtime
from payments.settlement import refunds
from payments.settlement.refunds import Reason, Refund
from payments.staff import accounts
from payments.staff.accounts import Staff
from payments.web.account import view_models
from payments.web.forms import SMALL, AnyRequest, typed
from payments.web.staff import auth

CHARGE = re.compile(r"[a-z]{2}_\w{1,200}", re.ASCII)
INTENT = re.compile(r"[0-9a-f]{32}")
REASONS = {
    Reason.REQUESTED_BY_CUSTOMER: "The donor asked for it",
    Reason.DUPLICATE: "It was paid twice",
    Reason.FRAUDULENT: "The card was not the payer's",
}
STATUSES = {
    "asked": "Stripe has not answered yet",
    "refused": "Stripe would not",
    "requires_action": "the donor has to do something",
    "pending": "on its way",
    "succeeded": "sent",
    "failed": "did not arrive; the money is with us",
    "canceled": "taken back",
}


class RefundPages(Controller):
    path = "/finance/refund/{charge_id:str}"
    include_in_schema = False

    @get()
    async def ask(
        self,
        rt: NamedDependency[Runtime],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
        charge_id: FromPath[str],
    ) -> Response[str]:
        """What is left of a payment, and the form."""
        return await _page(rt, colleague, charge_id, done=request.query_params.get("done") == "yes")

    @post(request_max_body_size=SMALL)
    async def refund(
        self,
        rt: NamedDependency[Runtime],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
        charge_id: FromPath[str],
    ) -> Response[Any]:
        """Have Stripe give the money back."""
        sent = await typed(request)
        try:
            await _refund(rt, colleague, charge_id, sent)
        except (InvalidAmount, InvalidField, refunds.RefundTooMuch) as error:
            return await _page(rt, colleague, charge_id, sent, error=error)
        return Redirect(f"/finance/refund/{charge_id}?done=yes", status_code=303)


async def _refund(rt: Runtime, colleague: Staff, charge_id: str, sent: dict[str, str]) -> None:
    left = await _left(rt, charge_id)
    try:
        amount = amount_input.parse(sent.get("amount", ""), left.currency)
    except InvalidAmount:
        raise InvalidField(
            "Type an amount such as 12.50. Nothing was refunded.", field="amount"
        ) from None
    try:
        reason = Reason(sent.get("reason", ""))
    except ValueError:
        raise InvalidField("Choose why. Nothing was refunded.", field="reason") from None
    named = sent.get("intent", "")
    intent = named if INTENT.fullmatch(named) else secrets.token_hex(16)
    async with rt.sessions.begin() as session:
        why = f"{money.format(amount)}, {reason}"
        await accounts.note(
            session, Deed.REFUND_ASKED, colleague, about=charge_id, reason=why, now=rt.now()
        )
    await refunds.ask(
        rt, charge_id, amount=amount.amount, reason=reason, by=colleague.id, intent=intent
    )


async def _left(rt: Runtime, charge_id: str) -> Money:
    """What of a payment can still be given back. Raises NotFound."""
    nothing = NotFound("There is no such payment.")
    if not CHARGE.fullmatch(charge_id):
        raise nothing
    async with rt.sessions() as session:
        if await session.get(charges.Charge, charge_id) is None:
            raise nothing
        return await refunds.remaining(session, charge_id)


async def _page(
    rt: Runtime,
    colleague: Staff,
    charge_id: str,
    sent: dict[str, str] | None = None,
    *,
    done: bool = False,
    error: PaymentsError | None = None,
) -> Response[str]:
    left = await _left(rt, charge_id)
    async with rt.sessions() as session:
        paid = await session.get_one(charges.Charge, charge_id)
        given = await refunds.of_charge(session, charge_id)
    sent = sent or {}
    chosen = [("", "Choose"), *((one.value, label) for one, label in REASONS.items())]
    return auth.page(
        rt,
        "staff_refund.html",
        colleague,
        here="/finance",
        status=200 if error is None else error.status,
        charge=charge_id,
        paid=money.format(Money(paid.amount, paid.currency)),
        paid_at=view_models.minute(rt, paid.charged_at),
        left=money.format(left),
        possible=left.amount > 0 and paid.status is charges.ChargeStatus.SUCCEEDED,
        currency=left.currency.upper(),
        amount=sent.get("amount", amount_input.typed(left)),
        reasons=auth.options(chosen, sent.get("reason", "")),
        intent=secrets.token_hex(16),
        done=done,
        error="" if error is None else error.detail,
        field="" if error is None else error.field or "amount",
        given=[_given(rt, one) for one in given],
    )


def _given(rt: Runtime, one: Refund) -> dict[str, str]:
    return {
        "amount": money.format(one.money),
        "status": STATUSES[one.status.value],
        "at": view_models.minute(rt, one.asked_at),
    }
