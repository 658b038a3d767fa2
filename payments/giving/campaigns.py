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

from payments.core import campaign_parser, campaign_schema
from payments.core.campaign_parser import InvalidCampaign
from payments.core.campaign_schema import CampaignConfig, FormOptions
from payments.core.errors import InvalidField, NotFound, PaymentsError
from payments.infra import audit_log, db
from payments.infra.audit_log import AuditAction
from payments.infra.context import Context

REMINDER = "reminder"  # the campaign of contributions that came by a reminder's link
MAX_ENABLED_CAMPAIGNS = 50
WIDGET_KEY_SUFFIX = "w"  # how a lot ends that was drawn in an article
LIST_LIMIT = 500
DATABASE_UNAVAILABLE_ERRORS = (
    OperationalError,
    InterfaceError,
    PoolTimeout,
)  # what a database is that does not answer


class SaveResult(StrEnum):
    NEW = "new"
    CHANGED = "changed"
    UNCHANGED = "unchanged"


class EditConflict(PaymentsError):
    """A colleague changed the campaign while another was editing it."""

    status = 409
    code = "edit-conflict"
    title = "Somebody else was faster"


class Campaign(db.Base):
    """One campaign. `round` numbers what its variants were."""

    __tablename__ = "campaigns"
    __table_args__ = (
        CheckConstraint("experiment_round > 0 AND version > 0", name="counted_from_one"),
    )

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    config: Mapped[dict[str, Any]] = mapped_column(JSONB)  # the shape of `Terms`
    version: Mapped[int]
    experiment_round: Mapped[int]
    round_started_at: Mapped[db.Timestamp]  # this round
    changed_at: Mapped[db.Timestamp]

    def parsed_config(self) -> CampaignConfig:
        return msgspec.convert(self.config, CampaignConfig)

    def variant_keys(self) -> list[str]:
        """The names of the variants of this round."""
        return [
            f"{variant.name}-{self.experiment_round}" for variant in self.parsed_config().variants
        ]

    def as_embedded(self) -> "EmbeddedCampaign":
        """What a snippet carries of it."""
        terms = self.parsed_config()
        lots = {
            f"{lot}{WIDGET_KEY_SUFFIX}": terms.options_for_variant(_variant_name(lot))
            for lot in self.variant_keys()
        }
        return EmbeddedCampaign(terms, lots)


class CampaignImpressions(db.Base):
    """How often the form was shown with a variant on a day."""

    __tablename__ = "campaign_impressions"
    __table_args__ = (CheckConstraint("impressions > 0", name="shown_is_positive"),)

    campaign: Mapped[str] = mapped_column(String(64), primary_key=True)
    variant: Mapped[str] = mapped_column(String(32), primary_key=True)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    impressions: Mapped[int]


@dataclass(frozen=True, slots=True)
class RenderedCampaign:
    """A campaign as one page shows it. `variant` is the lot that was drawn."""

    campaign: str
    variant: str
    options: FormOptions
    currency: str | None


@dataclass(frozen=True, slots=True)
class EmbeddedCampaign:
    """A campaign as a snippet carries it: what it says and, for each lot that the widget may draw,
    what it says instead.
    """

    options: FormOptions
    options_by_variant_key: Mapping[str, FormOptions]


# --- what a page shows ----------------------------------------------------------------------------


async def display(
    ctx: Context, campaign_id: str, *, widget_variant_key: str = ""
) -> RenderedCampaign | None:
    """Draw a variant for one showing, and count it; or show the one that the widget has `drawn`.
    None if readers are shown no such campaign.
    """
    if not campaign_id:
        return None
    try:
        async with ctx.sessions.begin() as session:
            found = await _get_running(session, ctx, campaign_id)
            if found is None:
                return None
            if widget_variant_key:
                return _render(
                    found,
                    widget_variant_key
                    if widget_variant_key in found.as_embedded().options_by_variant_key
                    else "",
                )
            lot = secrets.choice(found.variant_keys() or [""])
            if lot:
                await _count_impression(session, campaign_id, lot, day=_today(ctx))
    except DATABASE_UNAVAILABLE_ERRORS:
        return None  # the form needs no database to be shown
    return _render(found, lot)


async def redisplay(ctx: Context, campaign_id: str, variant_key: str) -> RenderedCampaign | None:
    """The same once more: a page that is shown again says what it said."""
    if not campaign_id:
        return None
    try:
        async with ctx.sessions() as session:
            found = await _get_running(session, ctx, campaign_id)
    except DATABASE_UNAVAILABLE_ERRORS:
        return None
    return (
        None
        if found is None
        else _render(found, variant_key if _has_variant_key(found, variant_key) else "")
    )


async def running_config(ctx: Context, campaign_id: str) -> CampaignConfig:
    """The terms of a campaign that readers are shown today. Raises NotFound."""
    async with ctx.sessions() as session:
        found = await _get_running(session, ctx, campaign_id)
    if found is None:
        raise NotFound("There is no such campaign, or it is not running.")
    return found.parsed_config()


def _render(found: Campaign, variant_key: str) -> RenderedCampaign:
    terms = found.parsed_config()
    return RenderedCampaign(
        found.id, variant_key, terms.options_for_variant(_variant_name(variant_key)), terms.currency
    )


def _variant_name(variant_key: str) -> str:
    return variant_key.rpartition("-")[0]


def _has_variant_key(found: Campaign, variant_key: str) -> bool:
    return (
        variant_key in found.variant_keys()
        or variant_key in found.as_embedded().options_by_variant_key
    )


async def _get_running(session: AsyncSession, ctx: Context, campaign_id: str) -> Campaign | None:
    found = await session.get(Campaign, campaign_id) if _is_valid_id(campaign_id) else None
    return found if found is not None and found.parsed_config().is_running(_today(ctx)) else None


def _is_valid_id(campaign_id: str) -> bool:
    return campaign_id.isascii() and campaign_id.isprintable() and len(campaign_id) <= 64


def _today(ctx: Context) -> date:
    return ctx.now().astimezone(ctx.settings.accounting_zoneinfo).date()


async def _count_impression(
    session: AsyncSession, campaign_id: str, variant_key: str, *, day: date
) -> None:
    await session.execute(
        insert(CampaignImpressions)
        .values(campaign=campaign_id, variant=variant_key, day=day, impressions=1)
        .on_conflict_do_update(
            index_elements=["campaign", "variant", "day"],
            set_={"impressions": CampaignImpressions.impressions + 1},
        )
    )


# --- what a gift is attributed to -----------------------------------------------------------------


async def attribution(
    ctx: Context, campaign_id: str | None, variant_key: str
) -> tuple[str | None, str]:
    """The campaign and the lot that a gift by a form is kept with, if they are ours."""
    async with ctx.sessions() as session:
        if campaign_id is None or not await _is_known(session, campaign_id):
            return None, ""
        found = await session.get(Campaign, campaign_id)
        return campaign_id, variant_key if found is not None and _has_variant_key(
            found, variant_key
        ) else ""


async def require_known(ctx: Context, campaign_id: str | None) -> None:
    """Raise InvalidField for a campaign that a program made up."""
    if campaign_id is None:
        return
    async with ctx.sessions() as session:
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
    config: CampaignConfig,
    *,
    now: datetime,
    staff_id: str | None = None,
    actor_name: str = audit_log.CLI_ACTOR,
    version: int | None = None,
) -> SaveResult:
    """Keep the terms of a campaign. `version` is what an editor saw, 0 for none.

    Raises ChangedMeanwhile, and InvalidCampaign when too many would be enabled.
    """
    kept = campaign_schema.to_dict(config)
    row = await session.get(Campaign, config.id, with_for_update=True)
    if version is not None and version != (0 if row is None else row.version):
        raise EditConflict(
            "A campaign with this id is there by now, or was changed. Nothing was changed; open it "
            "to see what it says."
        )
    if row is not None and row.parsed_config() == config:
        return SaveResult.UNCHANGED
    change = SaveResult.NEW if row is None else SaveResult.CHANGED
    if row is None:
        row = Campaign(
            id=config.id,
            config=kept,
            version=1,
            experiment_round=1,
            round_started_at=now,
            changed_at=now,
        )
        session.add(row)
    else:
        if row.parsed_config().experiment_config() != config.experiment_config():
            row.experiment_round, row.round_started_at = row.experiment_round + 1, now
        row.config, row.version, row.changed_at = kept, row.version + 1, now
    await session.flush()
    await _check_enabled_limit(session)
    deed = (
        AuditAction.CAMPAIGN_CREATED if change is SaveResult.NEW else AuditAction.CAMPAIGN_CHANGED
    )
    about = f"{config.id} {'on' if config.enabled else 'off'}"
    await audit_log.record(
        session, deed, staff_id=staff_id, name=actor_name, object_id=about, now=now
    )
    return change


async def _check_enabled_limit(session: AsyncSession) -> None:
    query = select(func.count()).where(Campaign.config["enabled"].as_boolean().is_(True))
    if (await session.scalar(query) or 0) > MAX_ENABLED_CAMPAIGNS:
        raise InvalidCampaign(("enabled",), f"at most {MAX_ENABLED_CAMPAIGNS} campaigns at once")


async def apply_file(
    ctx: Context, data: bytes, *, json: bool = False, dry_run: bool = False
) -> dict[str, SaveResult]:
    """Keep every campaign of a file, or none; those it does not name stay as they are.

    Raises InvalidCampaign.
    """
    maximums: Mapping[str, int] = ctx.settings.max_gift
    found = campaign_parser.parse_file(data, json=json, max_gift=maximums)
    async with ctx.sessions() as session:
        done = {terms.id: await save(session, terms, now=ctx.now()) for terms in found}
        await (session.rollback() if dry_run else session.commit())
    return done


async def get(session: AsyncSession, campaign_id: str) -> Campaign:
    """The campaign with this id, or NotFound."""
    row = await session.get(Campaign, campaign_id) if _is_valid_id(campaign_id) else None
    if row is None:
        raise NotFound("There is no such campaign.")
    return row


async def list_all(session: AsyncSession) -> list[Campaign]:
    """All of them, the last changed first."""
    query = select(Campaign).order_by(Campaign.changed_at.desc(), Campaign.id)
    return list(await session.scalars(query.limit(LIST_LIMIT)))
