"""The operator invites colleagues, prints links, changes roles and removes, all of it audited."""

from datetime import UTC, datetime

import pytest

from payments.staff.accounts import Role
from tests.support import command_line
from tests.support.colleague import open_colleague_browser
from tests.support.newsroom import Newsroom
from tests.support.programs import Program, has_token

pytestmark = pytest.mark.anyio


async def test_the_operator_invites_links_changes_and_removes(newsroom: Newsroom) -> None:
    async def runs(*arguments: str, code: int = 0) -> str:
        result = await command_line.run(newsroom.settings, "staff", *arguments)
        assert result.exit_code == code, result.stderr
        return result.stdout.decode().strip()

    newsroom.clock.current = datetime.now(UTC)  # the command line goes by the real clock
    base = newsroom.settings.base_url
    link_printed = (await runs("invite", "Ada", "--role", "support")).removeprefix(base)
    async with open_colleague_browser(newsroom, "Ada", Role.SUPPORT) as ada:
        assert (await ada.opens_link(link_printed)).headers["location"] == "/support"
        await runs("set-role", "Ada", "finance")
        assert (await ada.web.get("/staff")).status_code == 401
        link = (await runs("link", "Ada")).removeprefix(base)
        assert (await ada.opens_link(link)).headers["location"] == "/finance"
        unused = (await runs("link", "Ada")).removeprefix(base)
        await runs("sign-out-everybody")
        assert (await ada.web.get("/staff")).status_code == 401
        link = (await runs("link", "Ada")).removeprefix(base)
        assert (await ada.opens_link(unused)).status_code == 410
        assert (await ada.opens_link(link)).headers["location"] == "/finance"
        await runs("invite", "Ada", "--revoke-existing")
        assert (await ada.web.get("/staff")).status_code == 401
        assert await runs("list", "--json") == '[{"name": "Ada", "role": "finance", "until": null}]'
        await runs("set-end", "Ada", "--until", "2020-01-31", code=1)  # is over
        await runs("set-end", "Ada", "--until", f"{datetime.now(UTC):%Y-12-31}")
        await runs("set-end", "Ada")
        await runs("invite", "Ada", "--role", "admin", code=1)  # a role is changed by name
        await runs("remove", "Ada")
        await runs("link", "Ada", code=1)
        until = f"{datetime.now(UTC).year + 1}-01-31"
        await runs("invite", "Kim", "--role", "auditor", "--until", until)
        assert await runs("list") == f"auditor  Kim (until {until})"
        await runs("remove", "Kim")
        assert await runs("list", "--json") == "[]"
    rows = await newsroom.rows(
        "SELECT action FROM audit_entries WHERE name = 'the command line' ORDER BY seq"
    )
    assert [action for (action,) in rows] == [
        "colleague_invited", "role_changed", "staff_link_created", "staff_link_created",
        "signed_out", "staff_link_created", "passkey_removed",
        "colleague_invited", "access_end_changed", "access_end_changed", "passkey_removed",
        "colleague_removed", "colleague_invited", "passkey_removed", "colleague_removed",
    ]  # fmt: skip


async def test_the_operator_makes_lists_and_revokes_tokens_of_programs(newsroom: Newsroom) -> None:
    async def runs(*arguments: str, code: int = 0) -> str:
        result = await command_line.run(newsroom.settings, "tokens", *arguments)
        assert result.exit_code == code, result.stderr
        return result.stdout.decode().strip()

    newsroom.clock.current = datetime.now(UTC)  # the command line goes by the real clock
    first = await has_token(newsroom, name="Spreadsheet")  # of Ada
    chat = ("--colleague", "Ada", "--scope", "read:reports")
    second = Program(newsroom, await runs("create", "Chat", *chat, "--days", "30"))
    await runs("create", "Chat", *chat, code=1)  # there is one
    assert (await second.asks("months")).status_code == 200
    assert (await second.asks("audit")).status_code == 403
    assert "Chat" in await runs("list")
    await runs("revoke", code=2)
    await runs("revoke", "Chat")
    assert (await second.asks("months")).status_code == 401
    assert (await first.asks("months")).status_code == 200
    await runs("revoke", "--all")
    assert (await first.asks("months")).status_code == 401
    assert await runs("list", "--json") == "[]"
