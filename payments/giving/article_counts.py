"""Article counts: how many contributions were started from an article, by day, in steps of ten.

Which article a donor read is not stored beside these counts. Where `PAYMENTS_ARTICLES` is `revenue`
it is stored with the contribution, for sums of several donors (`accounting.reports.article_sums`);
else it is stored with none. Each process counts
in memory and writes only when ten have come together, as ten. So no number in the table is smaller,
no row was written because of one person, and what a process counted when it ended is lost. The day
is that of the tenth.

Unlike campaigns, articles are on no list: a newsroom has new ones every hour, and a slug that ten
contributions do not share is never written.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import date, datetime

from sqlalchemy import CheckConstraint, Date, String, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core import calendar
from payments.core.brand_settings import ArticlePolicy
from payments.giving.contributions import Contribution
from payments.infra import db
from payments.infra.context import Context

COUNT_STEP = 10
MAX_PENDING_ARTICLES = 5000  # that a process counts at once: a flood of made-up slugs is bounded


class ArticleCount(db.Base):
    """How many contributions were started from an article on a day."""

    __tablename__ = "article_counts"
    __table_args__ = (CheckConstraint("starts % 10 = 0 AND starts > 0", name="starts_are_tens"),)

    day: Mapped[date] = mapped_column(Date, primary_key=True)
    article: Mapped[str] = mapped_column(String(64), primary_key=True)
    starts: Mapped[int]


@dataclass(frozen=True, slots=True)
class ArticleCounter:
    """What one process has counted and not written yet."""

    pending: Counter[str] = field(default_factory=Counter)


async def record_start(ctx: Context, counter: ArticleCounter, article: str | None) -> None:
    """Count one contribution started from an article; every tenth is written.

    Without an article, when too many are pending, or where the newsroom counts none, nothing is
    counted.
    """
    if (
        ctx.settings.articles is ArticlePolicy.OFF
        or not article
        or (article not in counter.pending and len(counter.pending) >= MAX_PENDING_ARTICLES)
    ):
        return
    counter.pending[article] += 1
    if counter.pending[article] < COUNT_STEP:
        return
    del counter.pending[article]
    try:
        async with ctx.sessions.begin() as session:
            await _add_step(session, ctx, article, now=ctx.now())
    except SQLAlchemyError:
        return  # the contribution has started: its reader must not fail over a count


async def _add_step(session: AsyncSession, ctx: Context, article: str, *, now: datetime) -> None:
    day = calendar.local_date(now, ctx.settings.accounting_zone)
    await session.execute(
        insert(ArticleCount)
        .values(day=day, article=article, starts=COUNT_STEP)
        .on_conflict_do_update(
            index_elements=["day", "article"], set_={"starts": ArticleCount.starts + COUNT_STEP}
        )
    )


async def forget_articles(session: AsyncSession) -> None:
    """Delete which article each contribution began from: the newsroom no longer keeps it."""
    await session.execute(
        update(Contribution).where(Contribution.article.is_not(None)).values(article=None)
    )


async def top_articles(
    session: AsyncSession, *, since: date | None, until: date | None, limit: int = 50
) -> list[tuple[str, int]]:
    """Return the articles that led to most contributions, and to at least how many.

    From `since`, up to and without `until`.
    """
    query = (
        select(ArticleCount.article, func.sum(ArticleCount.starts).label("starts"))
        .group_by(ArticleCount.article)
        .order_by(func.sum(ArticleCount.starts).desc(), ArticleCount.article)
        .limit(limit)
    )
    if since is not None:
        query = query.where(ArticleCount.day >= since)
    if until is not None:
        query = query.where(ArticleCount.day < until)
    return [(article, int(starts)) for article, starts in await session.execute(query)]
