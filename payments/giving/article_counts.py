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
from payments.infra.context import Runtime

STEP = 10
HELD_MOST = 5000  # stories a process counts at once: names made up by a flood do not fill it


class ArticleCount(db.Base):
    """How many gifts were begun from a story."""

    __tablename__ = "article_counts"
    __table_args__ = (CheckConstraint("starts % 10 = 0 AND starts > 0", name="starts_are_tens"),)

    day: Mapped[date] = mapped_column(Date, primary_key=True)
    article: Mapped[str] = mapped_column(String(64), primary_key=True)
    starts: Mapped[int]


@dataclass(frozen=True, slots=True)
class Tally:
    """What one process has counted and not written down."""

    held: Counter[str] = field(default_factory=Counter)


async def count(rt: Runtime, tally: Tally, article: str | None) -> None:
    """One more gift was begun from this story."""
    if not article or (article not in tally.held and len(tally.held) >= HELD_MOST):
        return
    tally.held[article] += 1
    if tally.held[article] < STEP:
        return
    del tally.held[article]
    try:
        async with rt.sessions.begin() as session:
            await _add(session, rt, article, now=rt.now())
    except SQLAlchemyError:
        return  # the gift is begun, and its reader must not hear of a count


async def _add(session: AsyncSession, rt: Runtime, article: str, *, now: datetime) -> None:
    day = now.astimezone(rt.settings.zone).date()
    await session.execute(
        insert(ArticleCount)
        .values(day=day, article=article, starts=STEP)
        .on_conflict_do_update(
            index_elements=["day", "article"], set_={"starts": ArticleCount.starts + STEP}
        )
    )


async def most(
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
