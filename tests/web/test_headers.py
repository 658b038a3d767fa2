"""What every answer says to a browser, on the good days and on the worst: no address of another
site, no cookie before somebody signs in, nothing cached, and no label that counts a person.
"""

import re
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import httpx
import pytest
from litestar import get, post
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.engine import make_url

from payments.staff.accounts import Role
from payments.web.app import create_app
from tests.support.colleague import open_colleague_browser
from tests.support.donor import open_donor_browser
from tests.support.http import browser, safe
from tests.support.newsroom import BASE_URL, Newsroom, open_newsroom
from tests.support.page import Page
from tests.support.past import has_given
from tests.support.secret_values import secret_named

pytestmark = pytest.mark.anyio
TOKEN = secret_named("metrics")
# Asking for a link to sign in binds it to the browser that asked.
SIGNS_IN = {("POST", "/manage")}
ADDRESSES = ("href", "src", "action", "formaction", "srcset", "poster", "data", "content")


@pytest.fixture
async def newsroom(database: str) -> AsyncIterator[Newsroom]:
    async with open_newsroom(database, environment="demo", metrics_token=TOKEN) as room:
        yield room


def paths(room: Newsroom, word: str = "x") -> list[str]:
    app = create_app(room.settings)
    return sorted({re.sub(r"{[^}]+}", word, route.path) for route in app.routes})


def keeps_to_itself(answer: httpx.Response) -> None:
    """No element of a page names another site."""
    if not answer.headers.get("content-type", "").startswith("text/html"):
        return
    page = Page(answer.text)
    for tag, attributes in page.attributes:
        for name in ADDRESSES:
            named = urlsplit(attributes.get(name, ""))
            ours = named.netloc in ("", urlsplit(BASE_URL).netloc) and named.scheme in ("", "http")
            assert ours or named.scheme == "mailto", (answer.url.path, tag, attributes)
    assert "set-cookie" not in {attributes.get("http-equiv") for _, attributes in page.attributes}


async def test_no_reader_gets_a_cookie_or_is_sent_to_another_site(newsroom: Newsroom) -> None:
    signs = re.compile(r"(staff|donor|browser)=", re.IGNORECASE)
    for path in (*paths(newsroom), *paths(newsroom, "0" * 32), "/nothing"):
        answers: dict[str, httpx.Response] = {}
        for method in ("GET", "POST", "PUT", "HEAD", "OPTIONS"):
            answer = await newsroom.web.request(method, path, data={"address": "x", "when": "week"})
            keeps_to_itself(answer)
            answers[method] = answer
            if (method, path) not in SIGNS_IN:
                cookies = [
                    cookie
                    for cookie in answer.headers.get_list("set-cookie")
                    if signs.search(cookie) is None or "max-age=-" not in cookie.lower()
                ]
                assert cookies == [], (method, path)
        # HEAD says of every address what GET says, and sends nothing of it.
        head, whole = answers["HEAD"], answers["GET"]
        assert (head.status_code, head.content) == (whole.status_code, b""), path
        assert head.headers.get("content-type") == whole.headers.get("content-type"), path
        assert "content-length" in head.headers, path
    assert not dict(newsroom.web.cookies)


async def test_while_the_database_is_away_every_answer_is_as_safe(newsroom: Newsroom) -> None:
    values = newsroom.settings.model_dump()
    away = make_url(newsroom.settings.database_url.get_secret_value()).set(database="not_there")
    values["database_url"] = away.render_as_string(hide_password=False)
    app = create_app(type(newsroom.settings).model_validate(values), now=newsroom.clock)
    seen = set()
    async with app.lifespan(), browser(app, BASE_URL) as web:
        for path in paths(newsroom, "0" * 32):
            for method in ("GET", "POST"):
                answer = await web.request(method, path, headers={"cookie": "staff=x; donor=y"})
                safe(answer, newsroom)
                keeps_to_itself(answer)
                assert answer.status_code != 500, (method, path)
                assert "not_there" not in answer.text
                seen.add(answer.status_code)
    assert 503 in seen


@get("/boom", sync_to_thread=False)
def boom() -> None:
    raise RuntimeError("a bug")


@post("/donate/boom", sync_to_thread=False)
def boom_while_giving() -> None:
    raise RuntimeError("a bug")


async def test_a_bug_is_answered_as_safely_as_everything_else(newsroom: Newsroom) -> None:
    app = create_app(newsroom.settings, now=newsroom.clock)
    for one in (boom, boom_while_giving):
        app.register(one)
    async with app.lifespan(), browser(app, BASE_URL) as web:
        for answer in (await web.get("/boom"), await web.post("/donate/boom")):
            assert answer.status_code == 500
            safe(answer, newsroom)
            keeps_to_itself(answer)
            assert "set-cookie" not in answer.headers
            assert "a bug" not in answer.text
        assert "Nothing was charged" in (await web.post("/donate/boom")).text


async def test_every_page_behind_a_door_is_as_safe(newsroom: Newsroom) -> None:
    async with open_donor_browser(newsroom) as donor:
        await donor.gives()
        await donor.signs_in()
        seen = await walks(newsroom, donor.web, "/manage/contributions")
        assert len(seen) > 12, seen
    async with open_colleague_browser(newsroom, "Ada", Role.ADMIN) as ada:
        await ada.opens_link()
        seen = await walks(newsroom, ada.web, "/finance")
        assert len(seen) > 20, seen


async def walks(room: Newsroom, web: httpx.AsyncClient, begin: str) -> set[str]:
    """Follow every link from a page on. Gives the paths."""
    waiting, seen = [begin], set[str]()
    while waiting:
        address = waiting.pop()
        path = urlsplit(address).path
        if path in seen or path.startswith("/static/"):
            continue
        seen.add(path)
        answer = await web.get(address)
        assert answer.status_code < 500, address
        safe(answer, room)
        keeps_to_itself(answer)
        if answer.headers.get("content-type", "").startswith("text/html"):
            links = Page(answer.text).links.values()
            waiting += [link for link in links if link.startswith("/")]
    return seen


async def test_no_label_of_the_metrics_counts_a_person(newsroom: Newsroom) -> None:
    gift = await has_given(newsroom, 98765, "monthly")
    answer = await newsroom.web.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
    families = list(text_string_to_metric_families(answer.text))
    ours = [one for one in families if one.name.startswith("payments_")]
    assert ours
    for sample in (sample for family in ours for sample in family.samples):
        for value in (value for name, value in sample.labels.items() if name != "le"):
            assert re.fullmatch(r"[a-z][a-z_.]{0,40}", value), sample
    for sample in (sample for family in families for sample in family.samples):
        assert sample.value not in (98765, 987.65)
    assert gift.id not in answer.text
