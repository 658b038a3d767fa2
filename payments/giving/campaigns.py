"""Campaigns: what readers of a link see and are suggested, and which contributions it led to.

A campaign's config (see `campaign_schema`) is stored and changed as a whole, by colleagues or from
a file. Its id is stored with each contribution it leads to (`campaign_attribution`), so renewals
count for it too.

Which variant a page shows is drawn at random for each impression, goes into the form as a hidden
field, and is stored with the contribution alone: no cookie, nothing in the browser, nothing about
who asked. A reader who opens the form twice is two impressions, which blurs a difference and makes
none. The variant key is `b-3`: variant b of the third round. A new round starts when what is
compared changes, so no figure mixes two texts. The widget draws for itself, in the reader's
browser, and reports nothing until the reader goes on to the form: its keys are `b-3w`, their
impressions are not counted, and they are evaluated apart (`experiments`).
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

from payments.core import (
    calendar,
    campaign_goal,
    campaign_parser,
    campaign_schema,
    lookalike_names,
)
from payments.core.campaign_goal import Progress, PublicGoal
from payments.core.campaign_parser import InvalidCampaign
from payments.core.campaign_schema import CampaignConfig, FormOptions, text_for
from payments.core.errors import NotFound, PaymentsError
from payments.core.safety_policy import ProgressRule
from payments.infra import audit_log, db
from payments.infra.audit_log import AuditAction
from payments.infra.context import Context

REMINDER = "reminder"  # the campaign of contributions that came by a reminder's link
MAX_ENABLED_CAMPAIGNS = 50
MAX_FOLLOWERS = 5  # campaigns that follow one another, in case they follow in a circle
WIDGET_KEY_SUFFIX = "w"  # of variant keys that the widget draws
DATABASE_UNAVAILABLE_ERRORS = (OperationalError, InterfaceError, PoolTimeout)


class SaveResult(StrEnum):
    """What saving a campaign changed."""

    NEW = "new"
    CHANGED = "changed"
    UNCHANGED = "unchanged"


class EditConflict(PaymentsError):
    """A colleague changed the campaign while another was editing it."""

    status = 409
    code = "edit-conflict"
    title = "Somebody else was faster"


class Campaign(db.Base):
    """One campaign. `experiment_round` counts the changes of what its variants compare."""

    __tablename__ = "campaigns"
    __table_args__ = (
        CheckConstraint("experiment_round > 0 AND version > 0", name="counted_from_one"),
    )

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    config: Mapped[dict[str, Any]] = mapped_column(JSONB)  # a CampaignConfig
    version: Mapped[int]
    experiment_round: Mapped[int]
    round_started_at: Mapped[db.Timestamp]
    changed_at: Mapped[db.Timestamp]
    progress: Mapped[dict[str, Any] | None] = mapped_column(JSONB)  # a campaign_goal.Progress

    def parsed_config(self) -> CampaignConfig:
        """Return the config as its type."""
        return msgspec.convert(self.config, CampaignConfig)

    def parsed_progress(self) -> Progress | None:
        """Return what the last count of `campaign_totals` found; None before the first."""
        return None if self.progress is None else msgspec.convert(self.progress, Progress)

    def public_goal(self, ctx: Context) -> PublicGoal | None:
        """Return what readers are shown of its goal and matching now."""
        config, policy = self.parsed_config(), ctx.settings.safety_policy
        return campaign_goal.public_goal(
            config.goal,
            config.matching,
            self.parsed_progress(),
            today=_today(ctx),
            ends_on=config.ends_on,
            with_progress=policy is None or policy.campaign_progress is ProgressRule.SHOWN,
        )

    def variant_keys(self) -> list[str]:
        """Return the keys of the variants of this round; none without variants."""
        return [
            f"{variant.name}-{self.experiment_round}" for variant in self.parsed_config().variants
        ]

    def has_variant_key(self, variant_key: str) -> bool:
        """Whether a key is of a variant of this round, drawn by us or by the widget."""
        return (
            variant_key in self.variant_keys()
            or variant_key in self.as_embedded().options_by_variant_key
        )

    def as_embedded(self) -> "EmbeddedCampaign":
        """Return what the snippet of a widget contains."""
        config = self.parsed_config()
        options = {
            f"{key}{WIDGET_KEY_SUFFIX}": config.options_for_variant(variant_name(key))
            for key in self.variant_keys()
        }
        return EmbeddedCampaign(config, options)


class CampaignImpressions(db.Base):
    """How often the form was shown with a variant key on a day."""

    __tablename__ = "campaign_impressions"
    __table_args__ = (CheckConstraint("impressions > 0", name="impressions_are_positive"),)

    campaign: Mapped[str] = mapped_column(String(64), primary_key=True)
    variant: Mapped[str] = mapped_column(String(32), primary_key=True)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    impressions: Mapped[int]


@dataclass(frozen=True, slots=True)
class RenderedCampaign:
    """A campaign as one page shows it. `variant` is the variant key that was drawn, or empty."""

    campaign: str
    variant: str
    options: FormOptions
    currency: str | None
    goal: PublicGoal | None


@dataclass(frozen=True, slots=True)
class EmbeddedCampaign:
    """A campaign as a widget's snippet contains it: its options and, by variant key, those that
    each variant the widget may draw shows instead.
    """

    options: FormOptions
    options_by_variant_key: Mapping[str, FormOptions]


# --- what a page shows ----------------------------------------------------------------------------


async def display(
    ctx: Context, campaign_id: str, *, widget_variant_key: str = ""
) -> RenderedCampaign | None:
    """Draw a variant for one impression and count it, or show the one that the widget has drawn.

    None if no such campaign is running, or the database is away: the form needs none to be shown.
    """
    if not campaign_id:
        return None
    try:
        async with ctx.sessions.begin() as session:
            campaign = await _get_running(session, ctx, campaign_id)
            if campaign is None:
                return None
            if widget_variant_key:
                widget_keys = campaign.as_embedded().options_by_variant_key
                is_known = widget_variant_key in widget_keys
                return _render(ctx, campaign, widget_variant_key if is_known else "")
            variant_key = secrets.choice(campaign.variant_keys() or [""])
            if variant_key:
                await _count_impression(session, campaign.id, variant_key, day=_today(ctx))
    except DATABASE_UNAVAILABLE_ERRORS:
        return None
    return _render(ctx, campaign, variant_key)


async def redisplay(ctx: Context, campaign_id: str, variant_key: str) -> RenderedCampaign | None:
    """Show the same variant again without counting it: a page shown again stays as it was.

    A campaign that follows meanwhile is shown without a variant: the key is of the one that ended.
    None if no such campaign is running, or the database is away.
    """
    if not campaign_id:
        return None
    try:
        async with ctx.sessions() as session:
            campaign = await _get_running(session, ctx, campaign_id)
    except DATABASE_UNAVAILABLE_ERRORS:
        return None
    if campaign is None:
        return None
    is_its_own = campaign.id == campaign_id and campaign.has_variant_key(variant_key)
    return _render(ctx, campaign, variant_key if is_its_own else "")


async def shown_now(ctx: Context, campaign_id: str) -> Campaign | None:
    """Return the campaign that a widget shows: this one, or what follows; None if neither runs."""
    async with ctx.sessions() as session:
        return await _get_running(session, ctx, campaign_id)


async def get_running(ctx: Context, campaign_id: str) -> Campaign:
    """Return a campaign that is running today. Raises NotFound."""
    campaign = await shown_now(ctx, campaign_id)
    if campaign is None:
        raise NotFound("There is no such campaign, or it is not running.")
    return campaign


def _render(ctx: Context, campaign: Campaign, variant_key: str) -> RenderedCampaign:
    config = campaign.parsed_config()
    options = config.options_for_variant(variant_name(variant_key))
    return RenderedCampaign(
        campaign.id, variant_key, options, config.currency, campaign.public_goal(ctx)
    )


def variant_name(variant_key: str) -> str:
    """Return the name of the variant that a key is of: `b` of `b-3` and of `b-3w`."""
    return variant_key.rpartition("-")[0]


async def _get_running(session: AsyncSession, ctx: Context, campaign_id: str) -> Campaign | None:
    """Return a campaign, or the one that follows where it has ended; None if that does not run."""
    for _ in range(MAX_FOLLOWERS):
        campaign = await session.get(Campaign, campaign_id) if _is_valid_id(campaign_id) else None
        if campaign is None:
            return None
        config = campaign.parsed_config()
        if config.is_running(_today(ctx)):
            return campaign
        if not config.is_over(_today(ctx)) or config.followed_by is None:
            return None
        campaign_id = config.followed_by
    return None


def _is_valid_id(campaign_id: str) -> bool:
    return campaign_id.isascii() and campaign_id.isprintable() and len(campaign_id) <= 64


def _today(ctx: Context) -> date:
    return calendar.local_date(ctx.now(), ctx.settings.accounting_zone)


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


async def thanks_text(
    session: AsyncSession, campaign_id: str | None, variant_key: str, locale: str
) -> tuple[str, str] | None:
    """Return what a campaign says after a gift, and its locale; None where it says nothing."""
    campaign = None if campaign_id is None else await session.get(Campaign, campaign_id)
    if campaign is None:
        return None
    options = campaign.parsed_config().options_for_variant(variant_name(variant_key))
    return text_for(options.thanks, locale)


# --- save -----------------------------------------------------------------------------------------


async def save(
    session: AsyncSession,
    config: CampaignConfig,
    *,
    now: datetime,
    staff_id: str | None = None,
    actor_name: str = audit_log.CLI_ACTOR,
    version: int | None = None,
) -> SaveResult:
    """Store the config of a campaign. `version` is the one an editor saw, 0 for none.

    Raises EditConflict when there is another version by now, and InvalidCampaign when too many
    campaigns would be enabled.
    """
    stored_config = campaign_schema.to_dict(config)
    row = await session.get(Campaign, config.id, with_for_update=True)
    if version is not None and version != (0 if row is None else row.version):
        raise EditConflict(
            "A campaign with this id is there by now, or was changed. Nothing was changed; open it "
            "to see what it says."
        )
    if row is not None and row.parsed_config() == config:
        return SaveResult.UNCHANGED
    result = SaveResult.NEW if row is None else SaveResult.CHANGED
    if row is None:
        await _refuse_lookalike(session, config.id)
        row = Campaign(
            id=config.id,
            config=stored_config,
            version=1,
            experiment_round=1,
            round_started_at=now,
            changed_at=now,
        )
        session.add(row)
    else:
        if row.parsed_config().experiment_config() != config.experiment_config():
            row.experiment_round, row.round_started_at = row.experiment_round + 1, now
        row.config, row.version, row.changed_at = stored_config, row.version + 1, now
    await session.flush()
    await _check_enabled_limit(session)
    is_new = result is SaveResult.NEW
    await audit_log.record(
        session,
        AuditAction.CAMPAIGN_CREATED if is_new else AuditAction.CAMPAIGN_CHANGED,
        staff_id=staff_id,
        name=actor_name,
        object_id=f"{config.id} {'on' if config.enabled else 'off'}",
        now=now,
    )
    return result


async def _refuse_lookalike(session: AsyncSession, campaign_id: str) -> None:
    """Raise InvalidCampaign for a new id that reads like another's, as `fall-10` like `fall-l0`."""
    for other in await session.scalars(select(Campaign.id).order_by(Campaign.id)):
        if lookalike_names.skeleton(other) == lookalike_names.skeleton(campaign_id):
            raise InvalidCampaign(("id",), "looks like the id of another campaign")


async def _check_enabled_limit(session: AsyncSession) -> None:
    query = select(func.count()).where(Campaign.config["enabled"].as_boolean().is_(True))
    if (await session.scalar(query) or 0) > MAX_ENABLED_CAMPAIGNS:
        raise InvalidCampaign(("enabled",), f"at most {MAX_ENABLED_CAMPAIGNS} campaigns at once")


async def apply_file(
    ctx: Context, data: bytes, *, json: bool = False, dry_run: bool = False
) -> dict[str, SaveResult]:
    """Save every campaign of a file, or none; campaigns it does not name stay as they are.

    Returns what changed, by id. Raises InvalidCampaign.
    """
    maximums: Mapping[str, int] = ctx.settings.max_gift
    configs = campaign_parser.parse_file(data, json=json, max_gift=maximums)
    async with ctx.sessions() as session:
        results = {one.id: await save(session, one, now=ctx.now()) for one in configs}
        await (session.rollback() if dry_run else session.commit())
    return results


async def get(session: AsyncSession, campaign_id: str) -> Campaign:
    """Return the campaign with this id. Raises NotFound."""
    row = await session.get(Campaign, campaign_id) if _is_valid_id(campaign_id) else None
    if row is None:
        raise NotFound("There is no such campaign.")
    return row


async def list_all(session: AsyncSession) -> list[Campaign]:
    """Return all campaigns, the last changed first."""
    query = select(Campaign).order_by(Campaign.changed_at.desc(), Campaign.id)
    return list(await session.scalars(query))
