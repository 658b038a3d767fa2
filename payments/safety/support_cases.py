"""Support: one donor at a time, for a colleague who says why, and for half an hour.

A donor is found by the address they wrote from, which is hashed and forgotten. Each opening of a
case is in the audit with its reason, found or not, and nobody opens more than twenty in an hour. A
case shows what was given and promised: no address, no card, no article.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import ForeignKey, delete
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core.errors import NotFound, PaymentsError
from payments.donors import donors, sign_in
from payments.giving import change_log, charges, contributions, subscription_changes, subscriptions
from payments.giving.change_log import By, Change
from payments.giving.charges import Payment
from payments.giving.contributions import Contribution
from payments.giving.subscriptions import Subscription
from payments.infra import alerts, audit_log, db
from payments.infra.alerts import AlarmKind
from payments.infra.audit_log import Deed
from payments.infra.context import Runtime
from payments.mail import outbox
from payments.mail.outbox import Message, MessageKind
from payments.safety import data_requests
from payments.staff import accounts
from payments.staff.accounts import Staff

CASE_LASTS = timedelta(minutes=30)
MOST = 20  # donors that one colleague looks for in an hour
COUNTED = (Deed.DONOR_VIEWED, Deed.DONOR_SOUGHT)


class TooManyCases(PaymentsError):
    """A colleague who looks at one donor after the other."""

    status = 429
    code = "too-many-cases"
    title = "No more donors for now"


class Reason(StrEnum):
    """Why somebody looks. Chosen and not typed: what the audit holds can never be taken back."""

    WROTE = "the donor wrote to us"
    CALLED = "the donor called"
    BANK = "a question of a bank"
    LAW = "a request by law"
    FAULT = "a fault of ours"


class SupportCase(db.Base):
    """One donor, opened by one colleague for a while."""

    __tablename__ = "support_cases"

    id: Mapped[db.OurId] = mapped_column(primary_key=True)
    staff_id: Mapped[db.OurId] = mapped_column(ForeignKey("staff.id", ondelete="CASCADE"))
    donor_id: Mapped[db.OurId] = mapped_column(
        ForeignKey("donors.id", ondelete="CASCADE"), index=True
    )
    expires_at: Mapped[db.Moment]


@dataclass(frozen=True, slots=True)
class Promised:
    """One promise and what became of it."""

    promise: Subscription
    changes: Sequence[Change]


@dataclass(frozen=True, slots=True)
class Seen:
    """All that a case shows."""

    promises: Sequence[Promised]
    gifts: Sequence[Contribution]
    payments: Sequence[Payment]
    mails: Sequence[Message]
    stopping: dict[str, datetime]


async def open_case(
    rt: Runtime, person: Staff, *, address: str, reason: Reason, ticket: str
) -> SupportCase | None:
    """Look for a donor. None if nobody gave with this address. Raises TooManyCases, InvalidField.

    `ticket` names the letter, as the newsroom counts them.
    """
    why = f"{reason}, {ticket}" if ticket else reason.value
    async with rt.sessions.begin() as session:
        donor_id = await donors.find(session, rt.settings, address=address)
        await session.get(Staff, person.id, with_for_update=True)  # counted by one at a time
        hour = rt.now() - timedelta(hours=1)
        seen = await audit_log.how_often(session, COUNTED, staff_id=person.id, since=hour)
        if seen < MOST:
            return await _open(session, person, donor_id, why=why, now=rt.now())
        await alerts.sound(session, AlarmKind.MANY_VIEWS, subject=person.id, now=rt.now())
    raise TooManyCases("Twenty donors were looked for in an hour. An administrator was told.")


async def _open(
    session: AsyncSession, person: Staff, donor_id: str | None, *, why: str, now: datetime
) -> SupportCase | None:
    if donor_id is None:
        await accounts.note(session, Deed.DONOR_SOUGHT, person, about="nobody", reason=why, now=now)
        return None
    case = SupportCase(
        id=secrets.token_hex(16),
        staff_id=person.id,
        donor_id=donor_id,
        expires_at=now + CASE_LASTS,
    )
    session.add(case)
    await accounts.note(session, Deed.DONOR_VIEWED, person, about=donor_id, reason=why, now=now)
    return case


async def case_of(
    session: AsyncSession, person: Staff, case_id: str, *, now: datetime
) -> SupportCase:
    """A case of the colleague who asks, while it is open. Raises NotFound."""
    case = await session.get(SupportCase, case_id)
    if case is None or case.staff_id != person.id or case.expires_at <= now:
        raise NotFound("This case is closed. Look for the donor again, with a reason.")
    return case


async def look(session: AsyncSession, case: SupportCase) -> Seen:
    """What there is to know about the donor of a case."""
    theirs = await subscriptions.of_donor(session, case.donor_id)
    ids = [promise.stripe_subscription_id for promise in theirs]
    return Seen(
        [Promised(one, await change_log.of(session, one.stripe_subscription_id)) for one in theirs],
        await contributions.of_donor(session, case.donor_id),
        await charges.of_donor(session, case.donor_id, limit=100),
        await outbox.about(session, ids, limit=50),
        await change_log.owed_stops(session, ids),
    )


async def promise_of(
    session: AsyncSession, case: SupportCase, contribution_id: str
) -> Subscription:
    """A promise of the donor of a case, and of nobody else. Raises NotFound."""
    await contributions.owned(session, case.donor_id, contribution_id)
    promise = await subscriptions.of_contribution(session, contribution_id)
    if promise is None:
        raise NotFound("There is no such contribution.")
    return promise


# --- acting ---------------------------------------------------------------------------------------


async def stop(rt: Runtime, person: Staff, promise: Subscription) -> bool:
    """Stop a promise because its donor asked for it. Gives whether Stripe confirmed it."""
    await _note(rt, Deed.STOP_ASKED, person, promise.contribution_id)
    return await subscription_changes.stop(rt, promise.stripe_subscription_id, by=By.STAFF)


async def pause(
    rt: Runtime, person: Staff, promise: Subscription, months: int | None, *, intent: str
) -> None:
    """Pause a promise for so many months, or until its donor resumes."""
    await _note(rt, Deed.PAUSE_ASKED, person, promise.contribution_id)
    await subscription_changes.pause(
        rt, promise.stripe_subscription_id, months, by=By.STAFF, intent=intent
    )


async def skip(rt: Runtime, person: Staff, promise: Subscription, *, intent: str) -> None:
    """Leave the next charge of a promise out."""
    await _note(rt, Deed.SKIP_ASKED, person, promise.contribution_id)
    await subscription_changes.skip(rt, promise.stripe_subscription_id, by=By.STAFF, intent=intent)


async def resume(rt: Runtime, person: Staff, promise: Subscription, *, intent: str) -> None:
    """Go on with a promise that was paused."""
    await _note(rt, Deed.RESUME_ASKED, person, promise.contribution_id)
    await subscription_changes.resume(
        rt, promise.stripe_subscription_id, by=By.STAFF, intent=intent
    )


async def send_link(rt: Runtime, person: Staff, case: SupportCase) -> None:
    """Have the donor mailed a way to their own pages. Their address stays unknown to us."""
    async with rt.sessions.begin() as session:
        asked = await sign_in.ask_for_link_of(session, case.donor_id, now=rt.now())
        if asked is None:
            raise NotFound("This donor was erased. Nothing was sent.")
        gifts = await contributions.of_donor(session, case.donor_id, limit=1)
        await outbox.put(
            session,
            MessageKind.SIGN_IN,
            key=f"sign-in:{asked}",
            now=rt.now(),
            subject=asked,
            language=gifts[0].language if gifts else "en",
        )
        await accounts.note(session, Deed.LINK_SENT, person, about=case.donor_id, now=rt.now())


async def erase(rt: Runtime, person: Staff, case: SupportCase) -> datetime:
    """Stop what runs and forget the donor, who asked for it. Raises StripeUnavailable."""
    await _note(rt, Deed.ERASURE_ASKED, person, case.donor_id)
    return await data_requests.erase(rt, case.donor_id, by=By.STAFF)


async def _note(rt: Runtime, deed: Deed, person: Staff, about: str) -> None:
    async with rt.sessions.begin() as session:
        await accounts.note(session, deed, person, about=about, now=rt.now())


async def forget_expired(session: AsyncSession, now: datetime) -> None:
    """Remove cases that show nothing any more."""
    await session.execute(delete(SupportCase).where(SupportCase.expires_at <= now))
