"""The second person: what is more than one colleague may do alone waits until another agrees.

Corrections of the books and refunds share it: what counts against a limit, who may decide, and the
alert that says that something waits. A limit holds for all that one colleague does alone within a
day, in all currencies together, so that nobody gets around it in parts. Nobody agrees to what they
asked for, nor through colleagues whom they themselves let in a moment ago.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from fractions import Fraction

from sqlalchemy import or_, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.core.errors import PaymentsError
from payments.core.money import Money
from payments.infra import alerts
from payments.infra.alerts import AlertKind
from payments.infra.audit_log import AuditAction, AuditEntry

LIMIT_PERIOD = timedelta(days=1)  # in which what one colleague does alone is added up
LET_IN_LATELY = timedelta(days=7)
# By these a colleague could open the account of another, or give it a role, and act through it.
LETS_IN = (
    AuditAction.COLLEAGUE_INVITED,
    AuditAction.ROLE_CHANGED,
    AuditAction.ACCESS_END_CHANGED,
)
_SOMEBODY_BEHIND_BOTH = text("""
    WITH RECURSIVE behind AS (
        SELECT asked, name
          FROM (VALUES (true, CAST(:one AS text)), (false, CAST(:other AS text)))
               AS two(asked, name)
         UNION
        SELECT behind.asked, entry.name
          FROM behind
          JOIN audit_entries AS entry ON entry.object_id = behind.name
         WHERE entry.action = 'colleague_invited'
           AND entry.staff_id IS NOT NULL
           AND entry.recorded_at > :since
    )
    SELECT EXISTS (SELECT
                     FROM behind AS one
                     JOIN behind AS other USING (name)
                    WHERE one.asked AND NOT other.asked)
""")


class DecisionRefused(PaymentsError):
    """This cannot be decided, or not by this colleague. Nothing was done."""

    status = 409
    code = "decision-refused"
    title = "The decision was not made"


class DecisionOutcome(StrEnum):
    """What became of something that needed a second person."""

    APPROVED = "approved"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"  # by whoever asked
    EXPIRED = "expired"  # nobody decided in time


@dataclass(frozen=True, slots=True)
class Actor:
    """The colleague who acts: the id of the row and the name that is stored."""

    id: str
    name: str


def is_above(limits: Mapping[str, int], amounts: Iterable[Money]) -> bool:
    """Whether amounts together are more than one colleague may move alone.

    Each counts by its share of its currency's limit; in a currency without a limit nothing may.
    """
    share = Fraction(0)
    for amount in amounts:
        if amount.currency not in limits:
            return True
        share += Fraction(amount.amount, max(limits[amount.currency], 1))
    return share > 1


async def decide(
    session: AsyncSession,
    outcome: DecisionOutcome,
    *,
    asked_by: Actor,
    by: Actor,
    is_waiting: bool,
    now: datetime,
) -> DecisionOutcome:
    """Return how a decision ends: refused by whoever asked, it is withdrawn.

    Raises DecisionRefused for what was decided already, for whoever asked and would approve, and
    where one of the two let the other in lately, or somebody stands behind both.
    """
    if not is_waiting:
        raise DecisionRefused("It was decided already. Nothing was done.")
    if by.id == asked_by.id:
        if outcome is DecisionOutcome.APPROVED:
            raise DecisionRefused("You proposed it: somebody else approves it. Nothing was done.")
        return DecisionOutcome.WITHDRAWN
    if outcome is DecisionOutcome.APPROVED and await _let_in_lately(session, asked_by, by, now=now):
        raise DecisionRefused(
            "One of you two let the other in during the last seven days, or the same colleague "
            "invited you both. Somebody else approves it. Nothing was done."
        )
    return outcome


async def _let_in_lately(session: AsyncSession, one: Actor, other: Actor, *, now: datetime) -> bool:
    """Whether lately one let the other in, or somebody stands behind both.

    Behind a colleague is whoever invited them, who was shown the link, and whoever invited that
    one. The command line stands behind nobody: it is no colleague.
    """
    found = {"one": one.name, "other": other.name, "since": now - LET_IN_LATELY}
    if await session.scalar(_SOMEBODY_BEHIND_BOTH, found):
        return True
    let_in = or_(
        *(
            (AuditEntry.staff_id == by.id) & (AuditEntry.object_id == whom.name)
            for by, whom in ((one, other), (other, one))
        )
    )
    query = select(AuditEntry.seq).where(
        AuditEntry.action.in_(LETS_IN), AuditEntry.recorded_at > now - LET_IN_LATELY, let_in
    )
    return await session.scalar(query.limit(1)) is not None


async def announce(session: AsyncSession, object_id: str, *, now: datetime) -> None:
    """Raise the alert that something waits for a second person; `object_id` is its row."""
    await alerts.raise_alert(session, AlertKind.APPROVAL_WAITS, object_id=object_id, now=now)


async def close(session: AsyncSession, object_id: str, *, now: datetime) -> None:
    """Close the alert about something that is decided."""
    await alerts.close(session, AlertKind.APPROVAL_WAITS, object_id=object_id, now=now)
