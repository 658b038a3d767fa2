"""Finance sees money and no person: no page and no file of finance has an identifier that stays
with somebody from one payment to the next, nor anything of a card or a mailbox. An auditor sees the
same without what changes the books.

`cus_`, `sub_`, `pm_` and what hangs on them are persons' there. `ch_` names one payment: it stands
where a refund of that payment is decided, and in no file: there the balance transaction names it.
"""

import io
import re
import zipfile
from collections.abc import Iterable
from urllib.parse import urlsplit

import pytest

from payments.infra.outgoing_events import endpoints
from payments.infra.outgoing_events.tables import OFFERED_KINDS
from payments.staff.accounts import Role
from payments.web.staff import guards
from tests.support.colleague import Colleague, open_colleague_browser
from tests.support.donor import Donor, account_page, payment_fails, subscription_id_of
from tests.support.http import app_of, routes_of
from tests.support.newsroom import Newsroom
from tests.support.page import Page
from tests.support.past import has_given

pytestmark = pytest.mark.anyio
OF_A_PERSON = re.compile(
    rb"(?<![A-Za-z])(?:cus|sub|si|pm|src|card|seti|mandate|cs|in)_[A-Za-z0-9]{12,}"
    rb"|reader@|A Reader|@example\.org"
    rb"|(?<![0-9A-Za-z])4242(?![0-9A-Za-z])"  # not in a hash, which may hold any digits
)
OF_A_PAYMENT = re.compile(rb"(?<![A-Za-z])(ch|py|pi)_[A-Za-z0-9]{8,}")
WHERE_REFUNDS_ARE_DECIDED = (
    "/finance/contributions/",
    "/finance/refund/",
    "/finance/approvals",
)


def unpacked(content: bytes) -> bytes:
    """Return a file's bytes, those of an archive as its members have them."""
    if not content.startswith(b"PK"):
        return content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return b"\n".join(unpacked(archive.read(name)) for name in archive.namelist())


async def walks(colleague: Colleague, begin: list[str]) -> dict[str, tuple[str, bytes]]:
    """Follow every link from some pages on. Returns the type and the bytes of each answer.

    A link that sorts a list shows what is on the page already, so it is left out.
    """
    waiting, seen = begin, dict[str, tuple[str, bytes]]()
    while waiting:
        address = waiting.pop()
        if address in seen or not address.startswith(("/finance", "/staff")):
            continue
        answer = await colleague.web.get(address)
        kind = answer.headers.get("content-type", "")
        seen[address] = kind, unpacked(answer.content)
        if kind.startswith("text/html"):
            page = Page(answer.text)
            links = [link.partition("#")[0] for link in page.links.values()]
            waiting += [link for link in links if "sort=" not in link]
            waiting += [form.action for form in page.forms if form.method == "get"]
    return seen


async def reads_as_an_auditor(
    room: Newsroom, shapes: Iterable[re.Pattern[str]], addresses: list[str]
) -> None:
    """Open one address of each shape as an auditor; no form and no link there is closed to them."""
    rules = [
        rule
        for rule in guards.access_rules(app_of(room))
        if rule.roles and Role.AUDITOR not in rule.roles
    ]
    closed = re.compile("|".join(re.sub(r"{[^}]+}", "[^/?]+", rule.route) for rule in rules))
    async with open_colleague_browser(room, "Kim", Role.AUDITOR) as kim:
        await kim.opens_link()
        for shape in shapes:
            found = [a for a in addresses if shape.fullmatch(f"GET {urlsplit(a).path}")]
            for address in found[-2:]:  # the last two have most parameters
                answer = await kim.web.get(address)
                assert answer.status_code not in (401, 403), address
                if answer.headers["content-type"].startswith("text/html"):
                    page = Page(answer.text)
                    sent = [f"{form.method.upper()} {form.action}" for form in page.forms]
                    sent += [f"GET {urlsplit(link).path}" for link in page.links.values()]
                    offered = [one for one in sent if closed.fullmatch(one.partition("?")[0])]
                    assert offered == [], address
        exported = [one for one in await kim.audit_actions() if one[0] == "data_exported"]
        assert len(exported) > 5


async def test_finance_sees_no_identifier_of_a_person(newsroom: Newsroom, donor: Donor) -> None:
    contribution, _ = await payment_fails(donor)
    await donor.signs_in()
    await donor.opens_and_submits(f"{account_page(contribution)}/amount", amount="9")
    once = await has_given(newsroom, 2500, email="other@example.org")
    ((charge,),) = await newsroom.rows("SELECT stripe_charge_id FROM charges WHERE amount = 2500")
    newsroom.sandbox.dispute(str(charge), inquiry=True)
    await newsroom.runs_until_idle()
    await newsroom.runs_sweeps()
    async with newsroom.ctx.sessions.begin() as session:
        kinds, url, now = list(OFFERED_KINDS), "https://hooks.example.org/", newsroom.ctx.now()
        await endpoints.create(
            session, newsroom.settings, name="Chat", url=url, kinds=kinds, now=now
        )
    async with open_colleague_browser(newsroom, "Ada", Role.FINANCE) as ada:
        await ada.opens_link()
        closed = await ada.sends("/finance/periods/2026-11/close")
        assert closed.status_code == 303, closed.text
        await newsroom.runs_until_idle()  # the pack is built
        begin = [
            "/finance",
            "/staff",
            "/finance/approvals",
            f"/finance/contributions/{contribution.id}",
        ]
        begin += [f"/finance/contributions/{once.id}", "/finance/journal?month=2026-11"]
        ((transaction,), *_) = await newsroom.rows("SELECT id FROM balance_transactions")
        begin.append(f"/finance/corrections/{transaction}")
        seen = await walks(ada, begin)
    shapes = {
        route: re.compile(re.sub(r"\\{[^}]+\\}", "[^/]+", re.escape(route)))
        for route in routes_of(app_of(newsroom))
        if route.startswith(("GET /finance", "GET /staff/alerts"))
    }
    await reads_as_an_auditor(newsroom, shapes.values(), sorted(seen))
    paths = {f"GET {urlsplit(address).path}" for address in seen}
    assert len(shapes) > 15
    assert {path for path, shape in shapes.items() if not any(map(shape.fullmatch, paths))} == set()
    for address, (kind, content) in seen.items():
        assert OF_A_PERSON.findall(content) == [], address
        if not kind.startswith("text/html") or not address.startswith(WHERE_REFUNDS_ARE_DECIDED):
            assert OF_A_PAYMENT.findall(content) == [], address
    files = b"".join(content for kind, content in seen.values() if not kind.startswith("text/html"))
    assert files.count(b"txn_") > 2
    assert OF_A_PERSON.search((await subscription_id_of(newsroom)).encode())
