"""Articles: how often a story led to a gift, by day, in steps of ten, and nothing else.

Which story a donor read is theirs alone. So a story's name never reaches the disk with a gift, nor
beside one: each process holds its count in memory, and writes it down only when ten came together,
as ten. A number in the table is never smaller, no row of it was written because of one person, and
what a process held when it ended is lost. The day is that of the tenth.

Unlike campaigns, stories are on no list: a newsroom has new ones every hour, and a name that ten
gifts do not share is never written, whatever an address says.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import date, datetime

from sqlalchemy import CheckConstraint, Date, String, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.infra import db
from payments.infra.context import Context

COUNT_STEP = 10
MAX_PENDING_ARTICLES = (
    5000  # stories a process counts at once: names made up by a flood do not fill it
)


class ArticleCount(db.Base):
    """How many gifts were begun from a story."""

    __tablename__ = "article_counts"
    __table_args__ = (CheckConstraint("starts % 10 = 0 AND starts > 0", name="starts_are_tens"),)

    day: Mapped[date] = mapped_column(Date, primary_key=True)
    article: Mapped[str] = mapped_column(String(64), primary_key=True)
    starts: Mapped[int]


@dataclass(frozen=True, slots=True)
class ArticleCounter:
    """What one process has counted and not written down."""

    pending: Counter[str] = field(default_factory=Counter)


async def record_start(ctx: Context, counter: ArticleCounter, article: str | None) -> None:
    """One more gift was begun from this story."""
    if not article or (
        article not in counter.pending and len(counter.pending) >= MAX_PENDING_ARTICLES
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
        return  # the gift is begun, and its reader must not hear of a count


async def _add_step(session: AsyncSession, ctx: Context, article: str, *, now: datetime) -> None:
    day = now.astimezone(ctx.settings.accounting_zoneinfo).date()
    await session.execute(
        insert(ArticleCount)
        .values(day=day, article=article, starts=COUNT_STEP)
        .on_conflict_do_update(
            index_elements=["day", "article"], set_={"starts": ArticleCount.starts + COUNT_STEP}
        )
    )


async def top_articles(
    session: AsyncSession, *, since: date | None, until: date | None, limit: int = 50
) -> list[tuple[str, int]]:
    """The stories that led to most gifts from one day up to another, and to at least how many."""
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
