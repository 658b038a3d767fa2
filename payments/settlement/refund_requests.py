"""Refund requests: a refund that a colleague requests here, from the form to Stripe's answer.

A request is a row before Stripe is called, and the row's id is the idempotency key of that call: a
form sent twice, a crash or a lost answer refund once. What is left of the payment is computed while
the charge's row is locked, so that two colleagues cannot refund more than was paid.
"""

from datetime import datetime, timedelta

import stripe
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from payments.core import money
from payments.core.errors import (
    IdempotencyKeyReused,
    InvalidField,
    NotFound,
    PaymentsError,
)
from payments.core.identifiers import new_row_id
from payments.core.money import Money
from payments.giving.charges import Charge, ChargeStatus
from payments.infra import alerts, isolation, retries, stripe_client
from payments.infra.alerts import AlertKind
from payments.infra.context import Context
from payments.settlement import disputes, refunds
from payments.settlement.refunds import Refund, RefundReason, RefundStatus

RESUME_AFTER = timedelta(minutes=1)  # before a job takes up what a web request did not finish
MAX_KEYS = 10  # under which one refund is asked for, where Stripe keeps an error for each


class RefundTooMuch(PaymentsError):
    """More than is left of the payment. Nothing was refunded."""

    status = 422
    code = "refund-too-much"
    title = "The refund is larger than what is left"


class RefundNotPossible(PaymentsError):
    """This payment cannot be given back, or not any more. Nothing was refunded."""

    status = 409
    code = "refund-not-possible"
    title = "This payment cannot be refunded"


class RefundedMeanwhile(PaymentsError):
    """Since a form was shown the payment was refunded, or a refund proposed, by somebody else or
    by the same colleague in another tab. Nothing was refunded.
    """

    status = 409
    code = "refunded-meanwhile"
    title = "This payment was refunded meanwhile"


async def request(
    ctx: Context,
    charge_id: str,
    *,
    amount: int | None = None,
    reason: RefundReason,
    staff_id: str | None,
    idempotency_key: str,
) -> Refund:
    """Refund a payment, or `amount` minor units of it, and return the refund.

    `idempotency_key` names one filled-in form: sent again it returns the same refund. Raises
    NotFound, RefundNotPossible, RefundTooMuch, InvalidField or IdempotencyKeyReused.
    """
    async with ctx.sessions.begin() as session:
        refund, is_new = await create(
            session,
            charge_id,
            amount=amount,
            reason=reason,
            staff_id=staff_id,
            idempotency_key=idempotency_key,
            now=ctx.now(),
        )
    return await submit(ctx, refund.id) if is_new else refund


async def create(
    session: AsyncSession,
    charge_id: str,
    *,
    amount: int | None,
    reason: RefundReason,
    staff_id: str | None,
    idempotency_key: str,
    reserved: int = 0,
    now: datetime,
) -> tuple[Refund, bool]:
    """Add the row of a request, if the refund is possible. Returns it and whether it is new.

    `reserved` minor units of the payment are not to be given back: they wait for approval.
    """
    if not 1 <= len(idempotency_key) <= 64:
        raise InvalidField("A form's key has 1 to 64 characters.", field="intent")
    charge = await lock_charge(session, charge_id)
    earlier = await get_by_key(session, idempotency_key)
    if earlier is not None:
        if earlier.stripe_charge_id != charge_id or amount not in (None, earlier.amount):
            raise IdempotencyKeyReused("This form was sent before, for another refund.")
        return earlier, False
    amount = await ensure_possible(session, charge_id, amount, reserved=reserved)
    refund = Refund(
        id=new_row_id(),
        stripe_charge_id=charge_id,
        status=RefundStatus.REQUESTED,
        amount=amount,
        currency=charge.currency,
        reason=reason.value,
        requested_by=staff_id,
        idempotency_key=idempotency_key,
        requested_at=now,
        synced_at=now,
    )
    session.add(refund)
    await session.flush()
    return refund, True


async def get_by_key(session: AsyncSession, idempotency_key: str) -> Refund | None:
    """Return the refund that a form led to, if it was sent before."""
    query = select(Refund).where(Refund.idempotency_key == idempotency_key)
    refund: Refund | None = await session.scalar(query)
    return refund


async def ensure_possible(
    session: AsyncSession, charge_id: str, amount: int | None, *, reserved: int = 0
) -> int:
    """Return the minor units to refund, all that is left where `amount` is None.

    Locks the payment. Raises NotFound, RefundNotPossible, RefundTooMuch or InvalidField.
    """
    if reason := await why_not_refundable(session, await lock_charge(session, charge_id)):
        raise RefundNotPossible(f"{reason} Nothing was refunded.")
    whole = await refunds.refundable_amount(session, charge_id)
    left = Money(max(whole.amount - reserved, 0), whole.currency)
    amount = left.amount if amount is None else amount
    if amount < 1:
        raise InvalidField("A refund is more than nothing. Nothing was refunded.", field="amount")
    if amount > left.amount:
        raise RefundTooMuch(
            "Only %(left)s of this payment can still be refunded. Nothing was refunded.",
            field="amount",
            left=money.format(left),
        )
    return amount


async def lock_charge(session: AsyncSession, charge_id: str) -> Charge:
    """Return a payment, locked for this transaction. Raises NotFound."""
    charge: Charge | None = await session.get(Charge, charge_id, with_for_update=True)
    if charge is None:
        raise NotFound("There is no such payment.")
    return charge


async def why_not_refundable(session: AsyncSession, charge: Charge) -> str:
    """Return why a payment cannot be given back, as a sentence; empty where it can."""
    if charge.status is not ChargeStatus.SUCCEEDED:
        return "This payment did not succeed."
    if await disputes.active_dispute(session, charge.stripe_charge_id) is not None:
        return "The donor's bank has disputed this payment and holds its money already."
    if (await refunds.refundable_amount(session, charge.stripe_charge_id)).amount < 1:
        return "This payment was refunded in full before."
    return ""


async def submit(ctx: Context, refund_id: str) -> Refund:
    """Have Stripe make a requested refund, and return it; submitted again it is the same one.

    Raises RefundNotPossible when Stripe refuses, and StripeUnavailable.
    """
    async with ctx.sessions() as session:
        refund = await session.get_one(Refund, refund_id)
    if refund.status is not RefundStatus.REQUESTED:
        return refund
    try:
        with stripe_client.translate_errors():
            created = await _create_at_stripe(ctx, refund)
    except stripe.InvalidRequestError as error:
        await _mark_rejected(ctx, refund_id)
        raise RefundNotPossible(
            "Our payment provider will not refund this payment. Nothing was refunded."
        ) from error
    async with ctx.sessions.begin() as session:
        await refunds.upsert(ctx, session, created)
        return await session.get_one(Refund, refund_id, populate_existing=True)


async def _create_at_stripe(ctx: Context, refund: Refund) -> stripe.Refund:
    """Have Stripe make a refund, once, even where it keeps an error of its own for the key.

    What met that error may have been carried out: it is looked for before another key is used.
    """
    for attempt in range(1, MAX_KEYS + 1):
        key = f"refund-{refund.id}" if attempt == 1 else f"refund-{refund.id}-{attempt}"
        try:
            return await ctx.stripe.v1.refunds.create_async(
                {
                    "charge": refund.stripe_charge_id or "",
                    "amount": refund.amount,
                    "reason": RefundReason(refund.reason or "").value,
                    "metadata": {"refund_id": refund.id},
                },
                {"idempotency_key": key},
            )
        except stripe.APIError as error:
            headers = error.headers or {}
            if attempt == MAX_KEYS or not stripe_client.is_replayed_error(
                error.http_status or 0, headers
            ):
                raise
        for listed in await _listed_for_charge(ctx, refund):
            if stripe_client.metadata_value(listed, "refund_id") == refund.id:
                return listed
    raise AssertionError("the last attempt returns or raises")


async def _listed_for_charge(ctx: Context, refund: Refund) -> list[stripe.Refund]:
    page = await ctx.stripe.v1.refunds.list_async(
        {"charge": refund.stripe_charge_id or "", "limit": stripe_client.MAX_PAGE_SIZE}
    )
    return [listed async for listed in page.auto_paging_iter()]


async def resume_requested(ctx: Context, *, limit: int = 50) -> int:
    """Finish the requests that a crash or an unavailable Stripe interrupted. Returns how many."""
    query = (
        select(Refund)
        .where(
            Refund.status == RefundStatus.REQUESTED, Refund.requested_at < ctx.now() - RESUME_AFTER
        )
        .order_by(Refund.requested_at)
        .limit(limit)
    )
    async with ctx.sessions() as session:
        unfinished = {refund.id: refund for refund in await session.scalars(query)}

    async def finish(refund_id: str) -> None:
        refund = unfinished[refund_id]
        try:
            if ctx.now() - refund.requested_at > stripe_client.IDEMPOTENCY_KEY_LIFETIME:
                await _resolve_expired(ctx, refund)
            else:
                await submit(ctx, refund_id)
        except RefundNotPossible:
            await _alert_failed(ctx, refund_id)

    return await isolation.for_each(
        ctx, unfinished, finish, job=retries.schedule_job("resume_refunds")
    )


async def _resolve_expired(ctx: Context, refund: Refund) -> None:
    """Look whether Stripe made the refund, and reject the request if not.

    Its idempotency key has expired, so that submitting it again might refund twice.
    """
    with stripe_client.translate_errors():
        listed = await _listed_for_charge(ctx, refund)
    async with ctx.sessions.begin() as session:
        for fetched in listed:
            await refunds.upsert(ctx, session, fetched)
    if await _mark_rejected(ctx, refund.id):
        await _alert_failed(ctx, refund.id)


async def _alert_failed(ctx: Context, refund_id: str) -> None:
    """Raise an alert: whoever requested the refund has left the page by now."""
    async with ctx.sessions.begin() as session:
        await alerts.raise_alert(
            session, AlertKind.REFUND_FAILED, object_id=refund_id, now=ctx.now()
        )


async def _mark_rejected(ctx: Context, refund_id: str) -> bool:
    """Mark a request as rejected. Returns False when it was not open any more."""
    async with ctx.sessions.begin() as session:
        rejected_id = await session.scalar(
            update(Refund)
            .where(Refund.id == refund_id, Refund.status == RefundStatus.REQUESTED)
            .values(status=RefundStatus.REJECTED, synced_at=ctx.now())
            .returning(Refund.id)
        )
        if rejected_id is not None:
            await refunds.record_outcome(ctx, session, Refund.id == refund_id)
    return rejected_id is not None
