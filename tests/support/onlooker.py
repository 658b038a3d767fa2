"""What anybody outside can see of a form that was sent, and what it made us do."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from sqlalchemy import event

from tests.support.newsroom import Newsroom

TABLES = (
    *("sign_in_links", "outbox_mails", "reminders", "newsletter_signups", "procrastinate_jobs"),
    *("rate_limit_buckets", "used_tokens", "alerts", "contributions", "donors", "donor_sessions"),
)
VARYING_HEADERS = {"set-cookie", "x-request-id", "date", "location"}
_forms = itertools.count()
# Every form of ours that anybody may send for anybody's address.
PUBLIC_FORMS: dict[str, dict[str, object]] = {
    "/manage": {},
    "/remind": {"when": "week"},
    "/newsletter": {"consent": "yes", "privacy_version": "1"},
    "/api/reminders": {"on": "2026-12-24"},
    "/api/newsletter": {"consent": True, "privacy_version": "1"},
    "/donate": {"frequency": "once", "amount_once": "500", "currency": "usd", "remind": "yes"},
}


def with_every_form(folder: Path) -> dict[str, str]:
    """The settings of a newsroom that offers every form."""
    return {
        "address_key_dir": str(folder),
        "newsletter_file": str(folder / "addresses"),
        "privacy_url": "https://news.example/privacy",
        "privacy_version": "1",
    }


@dataclass(frozen=True)
class Seen:
    """An answer, and the work behind it; `seconds` is not compared here."""

    status: int
    headers: list[tuple[str, str]]
    content: bytes
    statements: list[str]
    rows: dict[str, int]


async def send(
    room: Newsroom, path: str, address: str, *, tables: tuple[str, ...] = TABLES
) -> tuple[Seen, float]:
    """Send a form for an address from a network of its own. Returns what is seen, and seconds."""
    name = "remind_address" if path == "/donate" else "address"
    body = {name: address, **PUBLIC_FORMS[path]}
    number = next(_forms)
    headers = {"x-forwarded-for": f"100.{number // 250}.{number % 250}.1"}
    headers |= {"sec-fetch-site": "same-origin"}
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    engine = room.ctx.sessions.kw["bind"].sync_engine
    before = {table: await room.count(table) for table in tables}
    event.listen(engine, "before_cursor_execute", note)
    room.web.cookies.clear()
    began = perf_counter()
    try:
        if path.startswith("/api"):
            answer = await room.web.post(path, json=body, headers=headers)
        else:
            answer = await room.web.post(path, data=body, headers=headers)
        seconds = perf_counter() - began
    finally:
        event.remove(engine, "before_cursor_execute", note)
    shown = [(n, v) for n, v in answer.headers.items() if n not in VARYING_HEADERS]
    grown = {table: await room.count(table) - was for table, was in before.items()}
    return Seen(answer.status_code, shown, answer.content, statements, grown), seconds
