"""The audit log: it is only ever added to, read a page at a time, and not filled by strangers."""

from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from payments.infra import audit_log, service_role
from payments.infra.audit_log import AuditAction
from payments.staff.accounts import Role
from tests.support.colleague import open_colleague_browser, redeems_link, signs_in
from tests.support.newsroom import Newsroom

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("as_owner", [False, True])
@pytest.mark.parametrize(
    "change",
    ["UPDATE audit_entries SET name = 'x'", "DELETE FROM audit_entries", "TRUNCATE audit_entries"],
)
async def test_what_is_in_the_audit_stays(newsroom: Newsroom, change: str, as_owner: bool) -> None:
    await signs_in(newsroom)
    before = await newsroom.rows("SELECT * FROM audit_entries ORDER BY seq")
    assert before
    role = "SET ROLE NONE" if as_owner else f"SET ROLE {service_role.APP_ROLE}"
    async with newsroom.ctx.engine.connect() as connection:
        await connection.execute(text(role))
        with pytest.raises(DBAPIError, match=r"append-only|permission denied"):
            await connection.execute(text(change))
    assert await newsroom.rows("SELECT * FROM audit_entries ORDER BY seq") == before


async def test_the_audit_is_read_by_who_and_what_a_page_at_a_time(newsroom: Newsroom) -> None:
    async with newsroom.ctx.sessions.begin() as session:
        for number in range(250):
            action = AuditAction.DATA_EXPORTED if number % 2 else AuditAction.REAUTHENTICATED
            await audit_log.record(
                session, action, name="Bea", object_id=f"n{number}", now=newsroom.clock()
            )
    async with open_colleague_browser(newsroom, "Ada", Role.FINANCE) as ada:
        await ada.opens_link()
        address, seen = "/finance/audit?who=Bea&what=data_exported", list[str]()
        while True:
            page = await ada.opens(address)
            seen += [row[3] for row in page.cells if len(row) == 5 and row[3].startswith("n")]
            if "Older" not in page.links:
                break
            address = "/finance/audit" + page.links["Older"]
        assert seen == [f"n{number}" for number in range(249, 0, -2)]
        assert "never changed" in page.text
        today = newsroom.clock().astimezone(newsroom.settings.accounting_zoneinfo).date()
        for asked, count in ((f"from={today}", 100), (f"to={today}", 0)):
            page = await ada.opens(f"/finance/audit?who=Bea&{asked}")
            assert len([row for row in page.cells if row[1:2] == ["Bea"]]) == count, asked
            assert count == 0 or f"from={today}" in page.links["Older"]
        for wrong in ("before=x", "before=-1", "before=" + "9" * 40, "what=x", "who=%00"):
            assert (await ada.web.get(f"/finance/audit?{wrong}")).status_code == 422, wrong


async def test_strangers_cannot_fill_the_audit(newsroom: Newsroom) -> None:
    for _ in range(audit_log.MAX_ANONYMOUS_PER_HOUR + 20):
        await redeems_link(newsroom, "/staff/enter/x")
    assert await newsroom.count("audit_entries") == audit_log.MAX_ANONYMOUS_PER_HOUR
    newsroom.clock.advance(timedelta(hours=1))
    await redeems_link(newsroom, "/staff/enter/x")
    assert await newsroom.count("audit_entries") == audit_log.MAX_ANONYMOUS_PER_HOUR + 1
