"""Campaigns: what readers of a link are told and suggested, and which gifts it led to.

A campaign is its terms (see `campaign_terms`), kept whole and changed whole, by colleagues or from
a file. Its id is kept with each gift it leads to, so that renewals count for it as well; it names
nobody, for only ids that a colleague made are ever kept: whatever else an address says there may be
somebody's name. A gift is never lost over a label: a form with an id that is none of ours is taken
and attributed to nothing; one of a campaign that is over or off still is that campaign's. Programs
are told, by 422.

Which variant a page shows is drawn by lot for each showing, goes into the form as a hidden field,
and is kept with the gift alone: no cookie, nothing in the browser, nothing about who asked. A
reader who opens the form twice is two showings, which blurs a difference and makes none. The lot is
named `b-3`: variant b of the third round. A new round begins when what is compared is changed, so
no figure mixes two texts. The widget draws for itself, in the reader's browser, and tells nobody
until the reader goes on to the form: its lots are named `b-3w`, their showings are counted nowhere,
and they are judged apart.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import CheckConstraint, Date, String, func, select
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core import campaign_schema
from payments.core.campaign_schema import InvalidCampaign, Offer, Terms
from payments.core.errors import InvalidField, NotFound, PaymentsError
from payments.infra import audit_log, db
from payments.infra.audit_log import Deed
from payments.infra.context import Runtime

REMINDER = "reminder"  # the campaign of contributions that came by a reminder's link
ENABLED_MOST = 50
BY_WIDGET = "w"  # how a lot ends that was drawn in an article
LISTED_MOST = 500
AWAY = (OperationalError, InterfaceError, PoolTimeout)  # what a database is that does not answer


class Change(StrEnum):
    NEW = "new"
    CHANGED = "changed"
    SAME = "same"


class ChangedMeanwhile(PaymentsError):
    """A colleague changed the campaign while another was editing it."""

    status = 409
    code = "changed-meanwhile"
    title = "Somebody else was faster"


class Campaign(db.Base):
    """One campaign. `round` numbers what its variants were."""

    __tablename__ = "campaigns"
    __table_args__ = (CheckConstraint("round > 0 AND version > 0", name="counted_from_one"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    terms: Mapped[dict[str, Any]] = mapped_column(JSONB)  # the shape of `Terms`
    version: Mapped[int]
    round: Mapped[int]
    began_at: Mapped[db.Moment]  # this round
    changed_at: Mapped[db.Moment]

    def read(self) -> Terms:
        return msgspec.convert(self.terms, Terms)

    def lots(self) -> list[str]:
        """The names of the variants of this round."""
        return [f"{variant.name}-{self.round}" for variant in self.read().variants]

    def embedded(self) -> "Embedded":
        """What a snippet carries of it."""
        terms = self.read()
        lots = {f"{lot}{BY_WIDGET}": terms.seen(_variant(lot)) for lot in self.lots()}
        return Embedded(terms, lots)


class CampaignCount(db.Base):
    """How often the form was shown with a variant on a day."""

    __tablename__ = "campaign_counts"
    __table_args__ = (CheckConstraint("shown > 0", name="shown_is_positive"),)

    campaign: Mapped[str] = mapped_column(String(64), primary_key=True)
    variant: Mapped[str] = mapped_column(String(32), primary_key=True)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    shown: Mapped[int]


@dataclass(frozen=True, slots=True)
class Shown:
    """A campaign as one page shows it. `variant` is the lot that was drawn."""

    campaign: str
    variant: str
    offer: Offer
    currency: str | None


@dataclass(frozen=True, slots=True)
class Embedded:
    """A campaign as a snippet carries it: what it says and, for each lot that the widget may draw,
    what it says instead.
    """

    offer: Offer
    lots: Mapping[str, Offer]


# --- what a page shows ----------------------------------------------------------------------------


async def show(rt: Runtime, campaign_id: str, *, drawn: str = "") -> Shown | None:
    """Draw a variant for one showing, and count it; or show the one that the widget has `drawn`.
    None if readers are shown no such campaign.
    """
    if not campaign_id:
        return None
    try:
        async with rt.sessions.begin() as session:
            found = await _running(session, rt, campaign_id)
            if found is None:
                return None
            if drawn:
                return _as_seen(found, drawn if drawn in found.embedded().lots else "")
            lot = secrets.choice(found.lots() or [""])
            if lot:
                await _count(session, campaign_id, lot, day=_today(rt))
    except AWAY:
        return None  # the form needs no database to be shown
    return _as_seen(found, lot)


async def shown_before(rt: Runtime, campaign_id: str, lot: str) -> Shown | None:
    """The same once more: a page that is shown again says what it said."""
    if not campaign_id:
        return None
    try:
        async with rt.sessions() as session:
            found = await _running(session, rt, campaign_id)
    except AWAY:
        return None
    return None if found is None else _as_seen(found, lot if _is_lot_of(found, lot) else "")


async def on_show(rt: Runtime, campaign_id: str) -> Terms:
    """The terms of a campaign that readers are shown today. Raises NotFound."""
    async with rt.sessions() as session:
        found = await _running(session, rt, campaign_id)
    if found is None:
        raise NotFound("There is no such campaign, or it is not running.")
    return found.read()


def _as_seen(found: Campaign, lot: str) -> Shown:
    terms = found.read()
    return Shown(found.id, lot, terms.seen(_variant(lot)), terms.currency)


def _variant(lot: str) -> str:
    return lot.rpartition("-")[0]


def _is_lot_of(found: Campaign, lot: str) -> bool:
    return lot in found.lots() or lot in found.embedded().lots


async def _running(session: AsyncSession, rt: Runtime, campaign_id: str) -> Campaign | None:
    found = await session.get(Campaign, campaign_id) if _may_be(campaign_id) else None
    return found if found is not None and found.read().is_running(_today(rt)) else None


def _may_be(campaign_id: str) -> bool:
    return campaign_id.isascii() and campaign_id.isprintable() and len(campaign_id) <= 64


def _today(rt: Runtime) -> date:
    return rt.now().astimezone(rt.settings.zone).date()


async def _count(session: AsyncSession, campaign_id: str, lot: str, *, day: date) -> None:
    await session.execute(
        insert(CampaignCount)
        .values(campaign=campaign_id, variant=lot, day=day, shown=1)
        .on_conflict_do_update(
            index_elements=["campaign", "variant", "day"],
            set_={"shown": CampaignCount.shown + 1},
        )
    )


# --- what a gift is attributed to -----------------------------------------------------------------


async def attributed(rt: Runtime, campaign_id: str | None, lot: str) -> tuple[str | None, str]:
    """The campaign and the lot that a gift by a form is kept with, if they are ours."""
    async with rt.sessions() as session:
        if campaign_id is None or not await _is_known(session, campaign_id):
            return None, ""
        found = await session.get(Campaign, campaign_id)
        return campaign_id, lot if found is not None and _is_lot_of(found, lot) else ""


async def require(rt: Runtime, campaign_id: str | None) -> None:
    """Raise InvalidField for a campaign that a program made up."""
    if campaign_id is None:
        return
    async with rt.sessions() as session:
        if not await _is_known(session, campaign_id):
            raise InvalidField(
                "campaign must be the id of one of the newsroom's campaigns. Nothing was charged.",
                field="campaign",
            )


async def _is_known(session: AsyncSession, campaign_id: str) -> bool:
    return campaign_id == REMINDER or await session.get(Campaign, campaign_id) is not None


# --- making and changing --------------------------------------------------------------------------


async def save(
    session: AsyncSession,
    terms: Terms,
    *,
    now: datetime,
    staff_id: str | None = None,
    name: str = audit_log.OPERATOR,
    version: int | None = None,
) -> Change:
    """Keep the terms of a campaign. `version` is what an editor saw, 0 for none.

    Raises ChangedMeanwhile, and InvalidCampaign when too many would be enabled.
    """
    kept = campaign_schema.plain(terms)
    row = await session.get(Campaign, terms.id, with_for_update=True)
    if version is not None and version != (0 if row is None else row.version):
        raise ChangedMeanwhile(
            "A campaign with this id is there by now, or was changed. Nothing was changed; open it "
            "to see what it says."
        )
    if row is not None and row.read() == terms:
        return Change.SAME
    change = Change.NEW if row is None else Change.CHANGED
    if row is None:
        row = Campaign(id=terms.id, terms=kept, version=1, round=1, began_at=now, changed_at=now)
        session.add(row)
    else:
        if row.read().tested() != terms.tested():
            row.round, row.began_at = row.round + 1, now
        row.terms, row.version, row.changed_at = kept, row.version + 1, now
    await session.flush()
    await _check_enabled(session)
    deed = Deed.CAMPAIGN_MADE if change is Change.NEW else Deed.CAMPAIGN_CHANGED
    about = f"{terms.id} {'on' if terms.enabled else 'off'}"
    await audit_log.note(session, deed, staff_id=staff_id, name=name, about=about, now=now)
    return change


async def _check_enabled(session: AsyncSession) -> None:
    query = select(func.count()).where(Campaign.terms["enabled"].as_boolean().is_(True))
    if (await session.scalar(query) or 0) > ENABLED_MOST:
        raise InvalidCampaign(("enabled",), f"at most {ENABLED_MOST} campaigns at once")


async def load(
    rt: Runtime, data: bytes, *, json: bool = False, dry_run: bool = False
) -> dict[str, Change]:
    """Keep every campaign of a file, or none; those it does not name stay as they are.

    Raises InvalidCampaign.
    """
    maximums: Mapping[str, int] = rt.settings.maximum_gifts
    found = campaign_schema.read(data, json=json, maximums=maximums)
    async with rt.sessions() as session:
        done = {terms.id: await save(session, terms, now=rt.now()) for terms in found}
        await (session.rollback() if dry_run else session.commit())
    return done


async def find(session: AsyncSession, campaign_id: str) -> Campaign:
    """The campaign with this id, or NotFound."""
    row = await session.get(Campaign, campaign_id) if _may_be(campaign_id) else None
    if row is None:
        raise NotFound("There is no such campaign.")
    return row


async def everything(session: AsyncSession) -> list[Campaign]:
    """All of them, the last changed first."""
    query = select(Campaign).order_by(Campaign.changed_at.desc(), Campaign.id)
    return list(await session.scalars(query.limit(LISTED_MOST)))
