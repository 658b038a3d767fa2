"""The start of a contribution: its row first, a Stripe Checkout Session second.

The row's id is the idempotency key of the call to Stripe, so there is one session however often the
call is made. What a crash leaves between the two is taken up by a schedule.
"""

from contextlib import suppress
from datetime import datetime, timedelta

import stripe
from sqlalchemy import (
    func,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from payments.core import i18n
from payments.core.brand_settings import ArticlePolicy
from payments.core.errors import IdempotencyKeyReused, StripeRejected
from payments.core.identifiers import new_row_id
from payments.giving import checkout_session, interval_columns
from payments.giving.checkout_session import ContributionRequest
from payments.giving.contributions import (
    OUTCOME_PENDING,
    Contribution,
    ContributionOrigin,
    ContributionStatus,
)
from payments.infra import isolation, retries, signing, stripe_client
from payments.infra.context import Context
from payments.risk import buckets, donor_notice, emergency_stops, rate_limit
from payments.risk.request_context import RequestContext

REQUEST_KEY_LIFETIME = timedelta(hours=24)  # of the Idempotency-Keys that callers send us
KEY_PURPOSE = "idempotency key"
RESUME_AFTER = timedelta(minutes=1)  # before the schedule takes up what a request did not finish


async def start(
    ctx: Context,
    contribution_request: ContributionRequest,
    *,
    idempotency_key: str,
    request_context: RequestContext,
    variant: str | None = None,
    article: str | None = None,
) -> Contribution:
    """Store the reader's decision, then open a Checkout Session for it.

    The same `idempotency_key` from the same network with the same request returns the same
    contribution; from another network it is another. Raises IdempotencyKeyReused for another
    request; what `donor_notice` and `rate_limit` raise for a request they refuse; StripeUnavailable
    when Stripe does not answer: the row then stays, and `resume_started` opens its session.
    """
    try:
        row = await _insert_or_get(
            ctx,
            contribution_request,
            idempotency_key=idempotency_key,
            request_context=request_context,
            variant=variant,
            article=article,
        )
    except (rate_limit.ProofOfWorkRequired, *rate_limit.TEMPORARY_REFUSALS):
        await rate_limit.record_refused(ctx, request_context)
        raise
    if row.status is not ContributionStatus.STARTED:
        return row
    return await open_checkout(ctx, row.id)


async def _insert_or_get(
    ctx: Context,
    contribution_request: ContributionRequest,
    *,
    idempotency_key: str,
    request_context: RequestContext,
    variant: str | None,
    article: str | None,
) -> Contribution:
    """Insert the row if the rate limits allow it, or return the one this key created."""
    key_hash = _key_hash(ctx, idempotency_key, request_context)
    digest = contribution_request.digest()
    contribution_id, now = new_row_id(), ctx.now()
    async with ctx.sessions.begin() as session:
        inserted_id = await session.scalar(
            insert(Contribution)
            .values(
                id=contribution_id,
                created_at=now,
                **interval_columns.column_values(contribution_request.frequency.interval),
                amount=contribution_request.money.amount,
                currency=contribution_request.money.currency,
                status=ContributionStatus.STARTED,
                origin=ContributionOrigin.READER,
                campaign=contribution_request.campaign,
                variant=variant,
                article=article if ctx.settings.articles is ArticlePolicy.REVENUE else None,
                language=i18n.negotiate_locale(
                    contribution_request.locale, offered=ctx.settings.offered_locales
                ),
                idempotency_key_hash=key_hash,
                request_digest=digest,
                checkout_session_params=checkout_session.build_params(
                    ctx, contribution_request, contribution_id, now, origin=request_context.origin
                ),
            )
            .on_conflict_do_nothing(index_elements=["idempotency_key_hash"])
            .returning(Contribution.id)
        )
        if inserted_id is not None:
            await donor_notice.enforce_policy(
                session,
                ctx.settings,
                declaration_accepted=request_context.declaration_accepted,
                is_recurring=contribution_request.frequency.interval is not None,
            )
            await rate_limit.check_gift_allowed(
                ctx, session, request_context, contribution_request.money
            )
        row = await session.scalar(
            select(Contribution).where(Contribution.idempotency_key_hash == key_hash)
        )
    assert row is not None
    if row.request_digest != digest:
        raise IdempotencyKeyReused(
            "This Idempotency-Key belongs to a different request. Nothing was charged.",
            field="Idempotency-Key",
        )
    return row


def _key_hash(ctx: Context, idempotency_key: str, request_context: RequestContext) -> bytes:
    """Return what stands for a key in the name space of whoever sent it.

    The key is random, so that nobody who has the hash, even with our secret, finds the network.
    """
    network = buckets.network_of(request_context.client_ip, buckets.NARROW_PREFIX)
    parts = f"{network}\0{idempotency_key}"
    return signing.hmac_digests(ctx.settings.hmac_keys, KEY_PURPOSE, parts)[0]


async def open_checkout(ctx: Context, contribution_id: str) -> Contribution:
    """Create the session of a started contribution, or return what an earlier call created.

    Raises DonationsClosed, StripeRejected and StripeUnavailable.
    """
    async with ctx.sessions() as session:
        row = await session.get_one(Contribution, contribution_id)
        if row.status is not ContributionStatus.STARTED or row.checkout_session_params is None:
            return row
        if await emergency_stops.is_stopping_all(session):
            raise donor_notice.DonationsClosed
    try:
        with stripe_client.translate_errors():
            made = await ctx.stripe.v1.checkout.sessions.create_async(
                row.checkout_session_params,  # type: ignore[arg-type]  # stored as JSON
                {"idempotency_key": contribution_id},
            )
    except stripe.InvalidRequestError as error:
        if ctx.now() - row.created_at < checkout_session.CHECKOUT_LIFETIME / 2:
            raise StripeRejected(
                "Our payment provider did not accept this payment. Nothing was charged."
            ) from error
        # Too late for a first session, so Stripe never had one: nothing can have been paid.
        return await _record_checkout(ctx, contribution_id, status=ContributionStatus.EXPIRED)
    if made.url is None or (made.amount_total, made.currency) != (row.amount, row.currency):
        raise StripeRejected(
            "Our payment provider did not accept this payment. Nothing was charged."
        )
    return await _record_checkout(
        ctx, contribution_id, status=ContributionStatus.OPEN, session_id=made.id, url=made.url
    )


async def _record_checkout(
    ctx: Context,
    contribution_id: str,
    *,
    status: ContributionStatus,
    session_id: str | None = None,
    url: str | None = None,
) -> Contribution:
    """Leave `started`, unless a webhook was faster and has written more."""
    async with ctx.sessions.begin() as session:
        await session.execute(
            update(Contribution)
            .where(
                Contribution.id == contribution_id,
                Contribution.status == ContributionStatus.STARTED,
            )
            .values(
                status=status,
                outcome_known_at=None if status in OUTCOME_PENDING else ctx.now(),
                stripe_session_id=session_id,
                checkout_url=url,
                checkout_session_params=None,
            )
        )
        return await session.get_one(Contribution, contribution_id, populate_existing=True)


async def resume_started(ctx: Context, *, limit: int = 50) -> int:
    """Open the sessions of contributions that a crash left without one. Returns how many.

    None while an emergency stop of all stands.
    """
    now, opened = ctx.now(), 0
    async with ctx.sessions.begin() as session:
        await session.execute(
            update(Contribution)
            .where(
                Contribution.status == ContributionStatus.STARTED,
                Contribution.created_at < now - stripe_client.IDEMPOTENCY_KEY_LIFETIME,
            )
            .values(
                status=ContributionStatus.EXPIRED,
                outcome_known_at=now,
                checkout_session_params=None,
            )
        )
        ids = await session.scalars(
            select(Contribution.id)
            .where(
                Contribution.status == ContributionStatus.STARTED,
                Contribution.created_at < now - RESUME_AFTER,
            )
            .order_by(func.random())  # the oldest might be those that Stripe refuses
            .limit(limit)
        )
        if await emergency_stops.is_stopping_all(session):
            return opened

    async def open_one(contribution_id: str) -> None:
        nonlocal opened
        with suppress(StripeRejected):  # its reader saw it; it expires in the end
            await open_checkout(ctx, contribution_id)
            opened += 1

    schedule = retries.schedule_job("resume_started_contributions")
    await isolation.for_each(ctx, ids, open_one, job=schedule)
    return opened


async def purge_idempotency_keys(session: AsyncSession, now: datetime) -> None:
    """Delete the hashes of Idempotency-Keys that are a day old."""
    await session.execute(
        update(Contribution)
        .where(
            Contribution.idempotency_key_hash.is_not(None),
            Contribution.created_at < now - REQUEST_KEY_LIFETIME,
        )
        .values(idempotency_key_hash=None, request_digest=None)
    )
