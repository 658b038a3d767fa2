"""Tokens of programs: shown once, for some things, for some days, and ended at once."""

import re
from datetime import timedelta
from html import unescape

import pytest

from payments.staff import accounts, administration
from payments.staff.accounts import Role
from payments.staff.api_tokens import MAX_TOKENS, TokenScope
from payments.web.finance_api.access import CALLS_PER_WINDOW
from tests.support.colleague import Colleague, open_colleague_browser, signs_in
from tests.support.newsroom import Newsroom
from tests.support.programs import Program, has_token

pytestmark = pytest.mark.anyio

MONTHS = "months"


async def made_on_page(one: Colleague, **fields: str) -> str:
    """The token that a page shows after its form was sent; empty where it shows none."""
    answer = await one.web.post(
        "/staff/tokens",
        data={"days": "90", **fields},
        headers={"sec-fetch-site": "same-origin", "accept": "text/html"},
        follow_redirects=True,
    )
    found = re.search(r'<code class="once">([^<]+)</code>', answer.text)
    return unescape(found[1]) if found else ""


async def test_a_colleague_makes_a_token_which_is_shown_once_and_ends_when_it_is_revoked(
    newsroom: Newsroom, capfd: pytest.CaptureFixture[str]
) -> None:
    async with (
        open_colleague_browser(newsroom, "Ada", Role.FINANCE) as ada,
        open_colleague_browser(newsroom, "Bea", Role.FINANCE) as bea,
        open_colleague_browser(newsroom, "Cleo", Role.ADMIN) as cleo,
    ):
        for one in (ada, bea, cleo):
            await one.opens_link()
        scopes = {"read:reports": "yes", "read:audit": "yes"}
        token = await made_on_page(ada, name=" Sheet  of the board ", **scopes)
        program = Program(newsroom, token)
        page = await ada.opens("/staff/tokens")
        assert token not in page.html
        assert f"{token[:12]}…" in page.text
        assert "never used" in page.text
        assert (await program.reads(MONTHS))["about"]["accounting_zone"] == "UTC"
        assert "last used on 22 November 2026" in (await ada.opens("/staff/tokens")).text
        tables = ("api_tokens", "audit_entries", "rate_limit_buckets")
        stored = str([await newsroom.rows(f"SELECT * FROM {table}") for table in tables])  # noqa: S608
        assert token not in stored
        assert token[12:] not in stored
        assert token[13:] not in capfd.readouterr().err

        # refused: who may not make one now, and what makes no sense
        for fields, said in (
            ({"name": "x"}, "Choose what it may read"),
            ({"name": "", **scopes}, "1 to 60 printable"),
            ({"name": "of ada@example.org", **scopes}, "no address"),
            ({"name": "Sheet of the board", **scopes}, "There is a token of this name"),
            ({"name": "x", "days": "367", **scopes}, "days: 1 to 366"),
            ({"name": "x", "days": "x", **scopes}, "days: 1 to 366"),
        ):
            answer = await bea.web.post(
                "/staff/tokens",
                data={"days": "90", **fields},
                headers={"sec-fetch-site": "same-origin"},
            )
            assert (answer.status_code, said in answer.text) == (422, True), fields
        newsroom.clock.advance(timedelta(minutes=6))
        late = await ada.sends("/staff/tokens", name="later", days="9", **scopes)
        assert late.headers["location"].startswith("/staff/confirm")
        assert "Sheet of the board" not in (await bea.opens("/staff/tokens")).text

        # ended by another administrator, not by another colleague
        ((token_id,),) = await newsroom.rows("SELECT id FROM api_tokens")
        revoke = f"/staff/tokens/{token_id}/revoke"
        assert (await bea.sends(revoke)).status_code == 404
        assert (await program.asks(MONTHS)).status_code == 200
        assert "Sheet of the board" in (await cleo.opens("/staff/tokens")).text
        for _ in range(2):
            assert (await cleo.sends(revoke)).status_code == 303
        assert (await program.asks(MONTHS)).status_code == 401
        label = f"Sheet of the board ({token[:12]})"
        assert [entry for entry in await ada.audit_actions() if "token" in str(entry[0])] == [
            ("api_token_created", label, "read:reports read:audit"),
            ("api_token_used", label, ""),
        ]
        assert (await cleo.audit_actions())[-1] == ("api_token_revoked", label, "")


async def test_a_call_needs_a_token_that_counts_of_the_scope_and_nothing_else_opens_it(
    newsroom: Newsroom,
) -> None:
    program = await has_token(newsroom, TokenScope.REPORTS)
    token = program.token
    cookie = await signs_in(newsroom)
    last = "A" if token[-1] != "A" else "B"
    for headers in (
        [],
        [("cookie", cookie)],
        [("authorization", token)],
        [("authorization", f"Basic {token}")],
        [("authorization", "Bearer ")],
        [("authorization", f"Bearer {token[:-1]}{last}")],
        [("authorization", f"Bearer {token[:-1]}")],
        [("authorization", f"Bearer {token}x")],
        [("authorization", f"Bearer rpf_00000000{token[12:]}")],
        [("authorization", f"Bearer {'x' * 5000}")],
        [("authorization", f"Bearer {token}"), ("authorization", f"Bearer {token}")],
    ):
        answer = await newsroom.web.get("/api/finance/months", headers=headers)
        assert answer.status_code == 401, headers
        assert answer.headers["www-authenticate"] == 'Bearer realm="finance"'
        assert answer.headers["content-type"] == "application/problem+json"
        assert token[13:-1] not in answer.text
    in_address = await newsroom.web.get(f"/api/finance/months?access_token={token}")
    assert in_address.status_code == 401
    both = {**program.headers, "cookie": cookie, "origin": "https://elsewhere.example"}
    answer = await newsroom.web.get("/api/finance/months", headers=both)
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]
    asked = await newsroom.web.options(
        "/api/finance/months",
        headers={"origin": "https://elsewhere.example", "access-control-request-method": "GET"},
    )
    assert not [name for name in asked.headers if name.startswith("access-control")]
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        sent = await newsroom.web.request(method, "/api/finance/months", headers=program.headers)
        assert sent.status_code == 405

    refused = await program.asks("transactions")
    assert refused.status_code == 403
    assert "read:transactions" in refused.json()["detail"]
    assert "insufficient_scope" in refused.headers["www-authenticate"]
    denied = await newsroom.rows(
        "SELECT name, object_id FROM audit_entries WHERE action = 'access_denied'"
    )
    assert denied == [("Ada", f"GET /api/finance/transactions by Spreadsheet ({token[:12]})")]

    # a token is nothing on a page, nor in another part of the API
    for page in ("/finance", "/staff/tokens", "/finance/audit"):
        opened = await newsroom.web.get(page, headers=program.headers)
        assert opened.status_code == 401, page


async def test_a_token_ends_on_its_last_day_and_with_its_colleague(newsroom: Newsroom) -> None:
    for name in ("removed", "has lost a device"):
        program = await has_token(newsroom, of=name, name=name)
        assert (await program.asks(MONTHS)).status_code == 200
        async with newsroom.ctx.sessions.begin() as session:
            colleague = await accounts.get_by_name(session, name)
            if name == "removed":
                await administration.remove(session, colleague, now=newsroom.clock())
            else:
                await administration.revoke_credentials(session, colleague, now=newsroom.clock())
        assert (await program.asks(MONTHS)).status_code == 401, name
    for role, status in ((Role.ADMIN, 200), (Role.SUPPORT, 401), (Role.FINANCE, 401)):
        if role is Role.ADMIN:
            program = await has_token(newsroom, of="Dora", name="Dora's")
        async with newsroom.ctx.sessions.begin() as session:
            dora = await accounts.get_by_name(session, "Dora")
            await administration.change_role(session, dora, role, now=newsroom.clock())
        assert (await program.asks(MONTHS)).status_code == status, role
    program = await has_token(newsroom, of="Eve", name="Eve's")
    await newsroom.rows("UPDATE staff SET role = 'support' WHERE name = 'Eve' RETURNING id")
    assert (await program.asks(MONTHS)).status_code == 401

    program = await has_token(newsroom, of="Fay", name="Fay's")
    now = newsroom.clock()
    for end, status in ((now + timedelta(seconds=1), 200), (now, 401), (None, 401)):
        async with newsroom.ctx.sessions.begin() as session:
            fay = await accounts.get_by_name(session, "Fay")
            await administration.set_access_end(session, fay, end, now=now)
        assert (await program.asks(MONTHS)).status_code == status

    program = await has_token(newsroom, name="For a day", days=1)
    newsroom.clock.advance(timedelta(days=1) - timedelta(seconds=1))
    assert (await program.asks(MONTHS)).status_code == 200
    newsroom.clock.advance(timedelta(seconds=1))
    assert (await program.asks(MONTHS)).status_code == 401
    again = await has_token(newsroom, name="For a day")  # its name is free
    assert (await again.asks(MONTHS)).status_code == 200
    for number in range(MAX_TOKENS - 1):
        await has_token(newsroom, name=f"number {number}")
    with pytest.raises(Exception, match=f"at most {MAX_TOKENS} tokens"):
        await has_token(newsroom, name="one too many")


async def test_a_token_may_call_so_often_and_learns_how_often(newsroom: Newsroom) -> None:
    program = await has_token(newsroom, TokenScope.REPORTS)
    first = await program.asks("openapi.json")
    assert first.headers["ratelimit-policy"] == f'"token";q={CALLS_PER_WINDOW};w=60'
    assert first.headers["ratelimit"] == f'"token";r={CALLS_PER_WINDOW - 1};t=1'
    # as after so many calls more that it made
    await newsroom.rows(
        "UPDATE rate_limit_buckets SET full_at = full_at + interval '58.5 seconds' RETURNING key"
    )
    for _ in range(2):
        assert (await program.asks("transactions")).status_code == 403
    refused = await program.asks(MONTHS)
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "1"
    assert refused.headers["ratelimit"] == '"token";r=0;t=60'
    assert refused.json()["type"] == "urn:reader-payments:problem:too-many-calls"
    other = await has_token(newsroom, name="Another")
    assert (await other.asks(MONTHS)).status_code == 200
    newsroom.clock.advance(timedelta(seconds=1))
    assert (await program.asks(MONTHS)).status_code == 200
    denials = "SELECT count(*) FROM audit_entries WHERE action = 'access_denied'"
    assert await newsroom.rows(denials) == [(2,)]
