"""A program of the newsroom that calls the finance API with a token."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from payments.staff import accounts, api_tokens
from payments.staff.accounts import Role
from payments.staff.api_tokens import TokenScope
from tests.support.newsroom import Newsroom

ALL_SCOPES = tuple(TokenScope)
REVIEWED = Path(__file__).parent.parent / "web" / "finance_api.txt"
FORM = "a form: "


def operations_by_page() -> dict[str, list[str]]:
    """The operations that have the figures of each page of finance; of a form there are none."""
    lines = [line for line in REVIEWED.read_text().splitlines() if not line.startswith("#")]
    pairs = [line.split(": ", 1) for line in lines]
    return {page: [] if said.startswith(FORM) else said.split() for page, said in pairs}


@dataclass(frozen=True)
class Program:
    """One token, and what the service answers it."""

    room: Newsroom
    token: str

    async def asks(self, path: str, **params: object) -> httpx.Response:
        """Call an operation."""
        values = {name.rstrip("_"): str(value) for name, value in params.items()}
        return await self.room.web.get(
            f"/api/finance/{path}", params=values or None, headers=self.headers
        )

    async def reads(self, path: str, **params: object) -> dict[str, Any]:
        """Call an operation that answers."""
        answer = await self.asks(path, **params)
        assert answer.status_code == 200, (path, params, answer.text)
        found: dict[str, Any] = answer.json()
        return found

    async def reads_all(self, path: str, **params: object) -> AsyncIterator[dict[str, Any]]:
        """Yield every item of a list, page by page."""
        found = await self.reads(path, **params)
        while True:
            for item in found["items"]:
                yield item
            if found["next_cursor"] is None:
                return
            found = await self.reads(path, **params, cursor=found["next_cursor"])

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"}


async def has_token(
    room: Newsroom,
    *scopes: TokenScope,
    of: str = "Ada",
    name: str = "Spreadsheet",
    days: int = 90,
) -> Program:
    """A colleague of finance has made a token; for everything unless scopes are given."""
    async with room.ctx.sessions.begin() as session:
        now = room.clock()
        await accounts.invite(session, of, role=Role.FINANCE, now=now)
        token, _ = await api_tokens.create(
            session,
            await accounts.get_by_name(session, of),
            name=name,
            scopes=scopes or ALL_SCOPES,
            days=days,
            now=now,
        )
    return Program(room, token)
