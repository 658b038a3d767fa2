"""Bad input, sent as it is, and how to look at its refusal."""

from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.support.newsroom import Newsroom
from tests.support.page import Page

API = "/api/contributions"
GIFT = {"amount": 500, "currency": "usd", "frequency": "once"}
EVIL = "https://evil.example/pay"

refused = pytest.mark.usefixtures("nothing_happens")


async def traces(room: Newsroom) -> tuple[int, ...]:
    tables = ("contributions", "stripe_events", "procrastinate_jobs", "charges")
    return (*[await room.count(table) for table in tables], posts(room))


def posts(room: Newsroom) -> int:
    return sum(seen.method == "POST" for seen in room.sandbox.requests)


def sessions(room: Newsroom) -> set[str]:
    """The Checkout Sessions that exist at Stripe."""
    return {row["id"] for row in room.sandbox.account.store.of_kind("checkout.session")}


def problem(answer: httpx.Response, status: int, pointer: str | None = None) -> str:
    """Check that the answer is a whole RFC 9457 problem about this field. Gives its detail."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body.keys() <= {"type", "title", "status", "detail", "instance", "errors"}
    assert body["type"].startswith("urn:reader-payments:problem:")
    assert body["status"] == status
    assert body["title"]
    assert body["instance"] == f"urn:request:{answer.headers['x-request-id']}"
    assert [one["pointer"] for one in body.get("errors", [])] == ([pointer] if pointer else [])
    assert all(one["code"] and one["message"] for one in body.get("errors", []))
    detail: str = body["detail"]
    assert "Nothing was charged." in detail
    return detail


async def send(room: Newsroom, body: str | bytes, **headers: str) -> httpx.Response:
    """A body as it is, with a new key and a JSON content type unless `headers` say otherwise."""
    sent = {"content-type": "application/json", "idempotency-key": uuid4().hex}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    return await room.web.post(API, content=body, headers=sent)


async def typed(room: Newsroom, query: str = "", **changes: str) -> httpx.Response:
    """Open the form, change what it holds, and press the button."""
    form = Page((await room.web.get(f"/donate{query}")).text).form("/donate")
    return await room.web.post("/donate", data=form.submission(**changes))


def complaint(answer: httpx.Response, field: str) -> str:
    """Check that the page names the field at fault, in a summary and beside it. Gives its words."""
    assert answer.status_code == 422, answer.text
    page = Page(answer.text)
    assert page.problems == []
    (words,) = page.alerts
    assert "Nothing was charged." in words
    assert f"#{field}" in page.links.values()
    if field != "main":
        at_fault = [named for _, named in page.attributes if "aria-invalid" in named]
        assert len(at_fault) == 1
        assert f"{field}-wrong" in at_fault[0]["aria-describedby"].split()
    return words


def has_an_end(answer: httpx.Response) -> None:
    """Check that the answer is a gift or a refusal that is whole."""
    if answer.status_code in (201, 303):
        return
    assert 400 <= answer.status_code < 500, answer.text
    assert "Nothing was charged." in answer.text
