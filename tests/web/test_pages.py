"""A reader gets from the article to the thank-you page with nothing but HTML, and leaves no trace.

Every page is whole, small and closed: no script, no cookie for readers, nothing from elsewhere.
"""

import json
import re
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from pydantic import SecretStr

from payments.core import amount_input, money
from payments.core.frequency import OFFERED_FREQUENCIES, Frequency
from payments.core.money import Money
from payments.sandbox.hosted_page_client import follow_cancel_link
from payments.web import widget_files
from payments.web.app import create_app
from tests.support.database import copy_database
from tests.support.database_owner import as_owner
from tests.support.http import browser, safe
from tests.support.loops import ANYIO_BACKEND, AnyioBackend
from tests.support.newsroom import BASE_URL, Newsroom, open_newsroom
from tests.support.page import Page
from tests.support.secret_values import secret_named

pytestmark = pytest.mark.anyio

TOKEN = secret_named("metrics")
# One newsroom serves the whole file: these readers look, and few of them pay.


@pytest.fixture(scope="module")
def anyio_backend() -> AnyioBackend:
    return ANYIO_BACKEND


@pytest.fixture(scope="module")
def database(cluster: str) -> Iterator[str]:
    with copy_database(cluster) as url:
        yield url


@pytest.fixture(scope="module")
async def newsroom(database: str) -> AsyncIterator[Newsroom]:
    more = {"environment": "demo", "metrics_token": TOKEN, "support_contact": "/help"}
    async with open_newsroom(database, **more) as room:
        yield room
        await room.runs_until_idle()
        assert room.sandbox.problems == []
        assert await room.failed_integrity_checks() == []


async def open_(room: Newsroom, address: str) -> Page:
    """Follow an address of ours."""
    answer = await room.web.get(address)
    assert answer.status_code == 200, answer.text
    return Page(answer.text)


async def press(room: Newsroom, page: Page, **changes: str) -> httpx.Response:
    """Change what the form holds and press its button."""
    return await room.web.post("/donate", data=page.form("/donate").submission(**changes))


def asked_of_stripe(room: Newsroom) -> tuple[int, str, str | None]:
    """The amount, currency and interval of the newest session."""
    price = room.sandbox.requests[-1].params["line_items"][0]["price_data"]
    return int(price["unit_amount"]), price["currency"], price.get("recurring", {}).get("interval")


# --- the way of a gift ----------------------------------------------------------------------------


async def test_a_reader_gives_from_the_article_with_nothing_but_html(newsroom: Newsroom) -> None:
    story = await open_(newsroom, "/article")
    chosen = story.form("/donate", "get").submission(frequency="annual", amount="2500")
    answer = await newsroom.web.get("/donate", params=chosen)
    form = Page(answer.text)
    fields = form.form("/donate").submission()
    assert (fields["frequency"], fields["currency"], fields["amount_annual"]) == (
        "annual",
        "usd",
        "2500",
    )
    answer = await press(newsroom, form)
    assert answer.status_code == 303
    assert asked_of_stripe(newsroom) == (2500, "usd", "year")
    thanks = await newsroom.pays(answer.headers["location"])
    assert thanks is not None
    assert thanks == f"{BASE_URL}/thanks?lang=en"
    assert "Confirming your gift" in (await open_(newsroom, thanks)).text
    await newsroom.runs_until_idle()
    assert "Thank you" in (await open_(newsroom, thanks)).text


@pytest.mark.parametrize("typed", ["12,50", "12.50", "$12.50", " 12.5 ", "12.50 USD"])
@pytest.mark.parametrize("frequency", OFFERED_FREQUENCIES)
async def test_an_amount_of_ones_own_is_read_as_it_is_written(
    newsroom: Newsroom, frequency: Frequency, typed: str
) -> None:
    form = await open_(newsroom, "/donate")
    changes = {"frequency": frequency.value, f"amount_{frequency}": "other"}
    answer = await press(newsroom, form, **changes, **{f"other_{frequency}": typed})
    assert answer.status_code == 303
    unit = {"once": None, "monthly": "month", "annual": "year"}[frequency.value]
    assert asked_of_stripe(newsroom) == (1250, "usd", unit)


async def test_a_reader_who_walks_away_finds_the_form_as_it_was(newsroom: Newsroom) -> None:
    for currency, typed, frequency in (("eur", "33.10", "monthly"), ("jpy", "1234", "once")):
        form = await open_(newsroom, f"/donate?currency={currency}&frequency={frequency}")
        changes = {f"amount_{frequency}": "other", f"other_{frequency}": typed}
        answer = await press(newsroom, form, **changes)
        back = await follow_cancel_link(answer.headers["location"])
        assert back is not None
        leads_on = (await newsroom.web.get(back)).headers["location"]
        fields = (await open_(newsroom, leads_on)).form("/donate").submission()
        assert fields.items() >= {**changes, "currency": currency, "frequency": frequency}.items()


async def test_a_double_click_leads_to_one_checkout(newsroom: Newsroom) -> None:
    form = await open_(newsroom, "/donate")
    rows = await newsroom.count("contributions")
    first, second = [await press(newsroom, form) for _ in range(2)]
    assert first.headers["location"] == second.headers["location"]
    assert await newsroom.count("contributions") == rows + 1


async def test_another_amount_after_going_back_is_another_checkout(newsroom: Newsroom) -> None:
    form = await open_(newsroom, "/donate")
    first = await press(newsroom, form, frequency="once", amount_once="500")
    second = await press(newsroom, form, frequency="once", amount_once="1000")
    assert (first.status_code, second.status_code) == (303, 303)
    assert first.headers["location"] != second.headers["location"]
    assert asked_of_stripe(newsroom)[0] == 1000


async def test_a_form_sent_again_after_paying_leads_to_the_thanks(newsroom: Newsroom) -> None:
    form = await open_(newsroom, "/donate")
    paid = await newsroom.pays((await press(newsroom, form)).headers["location"])
    await newsroom.runs_until_idle()
    again = await press(newsroom, form)
    assert again.status_code == 303
    assert paid is not None
    assert f"{BASE_URL}{again.headers['location']}".partition("?")[0] == paid.partition("?")[0]


# --- the link that leads to the form --------------------------------------------------------------


@pytest.mark.parametrize("currency", money.GIFT_LIMITS)
@pytest.mark.parametrize("frequency", OFFERED_FREQUENCIES)
async def test_a_link_fills_in_a_preset(
    newsroom: Newsroom, frequency: Frequency, currency: str
) -> None:
    for preset in money.suggested_amounts(currency, frequency):
        query = f"frequency={frequency}&amount={preset.amount}&currency={currency}"
        fields = (
            (await open_(newsroom, f"/donate?{query}&campaign=spring")).form("/donate").submission()
        )
        assert (fields["frequency"], fields["currency"]) == (frequency, currency)
        assert fields[f"amount_{frequency}"] == str(preset.amount)
        assert fields["campaign"] == "spring"


@pytest.mark.parametrize(
    ("amount", "currency", "shown"),
    [(1234, "usd", "12.34"), (1234, "jpy", "1234"), (12340, "kwd", "12.340"), (1, "eur", "0.01")],
)
async def test_a_link_fills_in_any_other_amount(
    newsroom: Newsroom, amount: int, currency: str, shown: str
) -> None:
    page = await open_(newsroom, f"/donate?frequency=once&amount={amount}&currency={currency}")
    fields = page.form("/donate").submission()
    assert (fields["amount_once"], fields["other_once"]) == ("other", shown)
    assert amount_input.parse_amount(shown, currency).amount == amount


@pytest.mark.parametrize(
    "query",
    [
        "frequency=weekly&amount=abc&currency=xyz",
        "amount=-500",
        "amount=5.00",
        "amount=" + "9" * 40,
        "amount=%D9%A5",
        "campaign=A+b&article=%3Cb%3E&locale=xx&intent=mine",
        "frequency=&amount=&currency=",
        "return_url=https://evil.example&%00=%00",
        "amount=500&amount=x&frequency[]=once",
        "%ff=%fe",
    ],
)
async def test_a_link_that_makes_no_sense_shows_the_plain_form(
    newsroom: Newsroom, query: str
) -> None:
    plain = (await open_(newsroom, "/donate")).form("/donate").submission()
    page = await open_(newsroom, f"/donate?{query}")
    anew = {"intent": "", "rendered_at": ""}  # of each page
    assert {**page.form("/donate").submission(), **anew} == {**plain, **anew}
    assert "evil.example" not in page.html


async def test_another_currency_keeps_what_was_typed_and_converts_nothing(
    newsroom: Newsroom,
) -> None:
    page = await open_(newsroom, "/donate?campaign=spring&article=a-story&frequency=once")
    sent = page.form("/donate").submission(
        new_currency="eur", frequency="annual", amount_once="other", other_once="12"
    )
    answer = await newsroom.web.post("/donate", data=sent)
    assert answer.status_code == 200
    changed = Page(answer.text)
    assert "Amounts are now in euros. Nothing was converted" in changed.text
    fields = changed.form("/donate").submission()
    same = ("campaign", "article", "frequency", "amount_once", "other_once", "intent")
    assert {name: fields.get(name) for name in same} == {name: sent[name] for name in same}
    assert fields["currency"] == fields["new_currency"] == "eur"
    # What was suggested in dollars is not suggested in euros: those of the new currency are.
    assert fields["amount_annual"] in {
        str(preset.amount) for preset in money.suggested_amounts("eur", Frequency.ANNUAL)
    }
    # It is asked again where the reader goes on to pay with another currency chosen.
    assert (await newsroom.web.post("/donate", data={**fields, "new_currency": "kwd"})).is_success
    paid = await newsroom.web.post("/donate", data={**fields, "frequency": "once"})
    assert paid.status_code == 303
    assert asked_of_stripe(newsroom)[:2] == (1200, "eur")


# --- what a reader sees, and nobody else ----------------------------------------------------------


async def test_the_form_says_what_the_bank_statement_will_show(newsroom: Newsroom) -> None:
    page = await open_(newsroom, "/donate")
    assert f"Your bank statement will show {newsroom.settings.statement_descriptor}" in page.text
    assert "renew until you cancel" in page.text


async def test_stripe_is_sent_no_more_than_it_needs(newsroom: Newsroom) -> None:
    await newsroom.creates_campaigns("spring-campaign")
    for frequency in OFFERED_FREQUENCIES:
        labels = {"campaign": "spring-campaign", "article": "a-dangerous-story"}
        answer = await newsroom.requests_contribution(1700, frequency, **labels)
        params = newsroom.sandbox.requests[-1].params
        price = {"currency", "unit_amount", "product"}
        data = "payment_intent_data"
        if frequency.interval is not None:
            price, data = price | {"recurring"}, "subscription_data"
        ours = {"contribution_id": answer.json()["id"]}
        assert set(params) - {"submit_type"} == {
            "adaptive_pricing", "cancel_url", "client_reference_id", "expires_at", "line_items",
            "locale", "metadata", "mode", "success_url", "ui_mode", "wallet_options", data,
        }  # fmt: skip
        assert params["metadata"] == params[data]["metadata"] == ours
        assert set(params[data]) == {"metadata"}
        assert set(params["line_items"][0]["price_data"]) == price
        assert params["wallet_options"] == {"link": {"display": "never"}}
        assert params["adaptive_pricing"] == {"enabled": "false"}
        assert int(params["expires_at"]) <= newsroom.clock().timestamp() + 3600
        assert "spring" not in str(params)
        assert "dangerous" not in str(params)


async def test_the_article_a_donor_read_is_stored_nowhere(newsroom: Newsroom) -> None:
    form = await open_(newsroom, "/donate?article=a-dangerous-story")
    assert (await press(newsroom, form)).status_code == 303
    tables = await newsroom.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    assert len(tables) > 15
    for (table,) in tables:
        query = f"SELECT count(*) FROM {table} AS t WHERE t::text LIKE '%dangerous%'"  # noqa: S608 - our tables
        assert await newsroom.rows(query) == [(0,)], table


async def test_a_reader_gets_no_cookie_and_no_address_of_another(newsroom: Newsroom) -> None:
    stripe = urlsplit(newsroom.sandbox.url).netloc
    for address in ("/", "/article", "/donate", "/donate?amount=1", "/thanks/x", "/nothing"):
        answer = await newsroom.web.get(address, headers={"cookie": "staff=guessed"})
        assert "set-cookie" not in answer.headers
        assert stripe not in answer.text
        page = Page(answer.text)
        for _, named in page.attributes:
            for link in (named.get(name, "/") for name in ("href", "src", "action")):
                assert link.startswith(("/", "#", "?")) or link == "", link
                assert not link.startswith("//")
            assert not any(name.startswith("on") or name == "style" for name in named)
        scripts = [named.get("src") for tag, named in page.attributes if tag == "script"]
        widget = f"/embed/{widget_files.built().current}.js"
        assert scripts == ([widget] if address == "/article" else [])
        assert not {"iframe", "style"} & {tag for tag, _ in page.attributes}


async def test_the_title_that_a_browser_remembers_names_no_newsroom(newsroom: Newsroom) -> None:
    for address in ("/", "/article", "/donate", "/thanks/x", "/finance", "/nothing"):
        answer = await newsroom.web.get(address)
        title = re.search("<title>(.*)</title>", answer.text)
        assert title is not None
        assert title[1]
        assert newsroom.settings.publication_name not in title[1]


# --- every answer ---------------------------------------------------------------------------------


async def test_every_answer_of_every_route_is_safe(newsroom: Newsroom) -> None:
    app = create_app(newsroom.settings)
    addresses = [re.sub(r"{[^}]+}", word, route.path)
                 for route in app.routes for word in ("x", "site.css", "0" * 32)]  # fmt: skip
    assert len(set(addresses)) > 15
    seen, named = set(), []
    for address in dict.fromkeys([*addresses, "/nothing", "/api/nothing", "/static/../app.py"]):
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"):
            answer = await newsroom.web.request(method, address)
            assert answer.status_code < 500, (method, address)
            safe(answer, newsroom)
            seen.add(answer.status_code)
            named.append(answer.headers["x-request-id"])
    assert seen >= {200, 204, 400, 401, 404, 405, 410, 422}
    assert len(set(named)) == len(named)


@pytest.mark.parametrize(
    "path", ["../pages.py", "%2e%2e/pages.py", "..%2fpages.py", "%2fetc%2fpasswd", "", "x"]
)
async def test_styles_are_served_and_no_other_file(newsroom: Newsroom, path: str) -> None:
    answer = await newsroom.web.get(f"/static/{path}")
    assert answer.status_code == 404
    assert "import" not in answer.text
    assert "root:" not in answer.text


async def test_redirects_refusals_and_failures_are_safe_too(newsroom: Newsroom) -> None:
    form = await open_(newsroom, "/donate")
    redirect = await press(newsroom, form)
    assert redirect.status_code == 303
    safe(redirect, newsroom)
    safe(await newsroom.web.get("/donate", headers={"host": "evil.example"}), newsroom)
    safe(await newsroom.web.post("/donate", content=b"a" * 100_000), newsroom)
    newsroom.sandbox.faults.add("POST", "/v1/checkout/sessions", "rate_limited")
    failure = await press(newsroom, form, frequency="annual")
    assert failure.status_code == 503
    safe(failure, newsroom)


async def test_over_https_a_browser_gets_hsts(newsroom: Newsroom) -> None:
    values = {**newsroom.settings.model_dump(), "base_url": "https://give.example.org"}
    app = create_app(type(newsroom.settings).model_validate(values), now=newsroom.clock)
    async with app.lifespan(), browser(app, "https://give.example.org") as web:
        answer = await web.get("/donate")
        assert answer.status_code == 200
        assert answer.headers["strict-transport-security"].startswith("max-age=63072000")
        assert (await web.get("/article")).status_code == 200
        ours = (
            "GIVE.example.org",
            "give.example.org:443",
            "give.example.org.",
            "Give.example.org:8",
        )
        for host in ours:  # one host, however it is written
            assert (await web.get("/donate", headers={"host": host})).status_code == 200, host
        for host in ("give.example.org:x", "give.example.org.evil.example", "evil.example:443"):
            assert (await web.get("/donate", headers={"host": host})).status_code == 400, host
    answer = await newsroom.web.get("/donate")
    assert "strict-transport-security" not in answer.headers


async def test_outside_the_demo_there_is_no_sample_article(newsroom: Newsroom) -> None:
    values = {**newsroom.settings.model_dump(), "environment": "production", "metrics_token": None}
    app = create_app(type(newsroom.settings).model_validate(values), now=newsroom.clock)
    async with app.lifespan(), browser(app, BASE_URL) as web:
        assert (await web.get("/article")).status_code == 404
        front = await web.get("/")
        assert "/article" not in front.text
        assert "inance" not in front.text
        assert {"/donate", "/manage", "/remind", "/safety"} <= set(Page(front.text).links.values())
        nowhere = Page((await web.get("/nothing")).text)
        assert {"/donate", "/manage", "/"} <= set(nowhere.links.values())
        assert "quote this number" not in nowhere.text
        icon = await web.get("/favicon.ico")
        assert (icon.status_code, icon.headers["content-type"]) == (200, "image/x-icon")
        assert (await web.get("/metrics")).status_code == 404
        assert (await web.get("/metrics", headers={"authorization": "Bearer "})).status_code == 404


KINDS = ("radio", "checkbox", "hidden", "text", "email")  # of a field, each with a label or unseen


async def test_every_page_is_whole(newsroom: Newsroom) -> None:
    gift = await newsroom.gives(2600, "monthly")
    pages = [
        await newsroom.web.get(address, follow_redirects=True)
        for address in (
            "/",
            "/article",
            "/thanks",
            "/donate",
            "/donate?currency=kwd&amount=1&frequency=once&campaign=spring&article=story",
            f"/thanks/{gift.id}",
            "/thanks?poll=11",
            "/thanks/x",
            "/nothing",
            "/finance",
            "/finance?year=x",
            "/staff/enter/x",
        )
    ]
    pages.append(await newsroom.web.post("/donate", data={"frequency": "once", "currency": "xyz"}))
    pages.append(await newsroom.web.post("/donate", content=b"a" * 100_000))
    await newsroom.runs_until_idle()
    pages.append(await newsroom.web.get(f"/thanks/{gift.id}", follow_redirects=True))
    for answer in pages:
        page = Page(answer.text)
        assert page.problems == [], answer.url
        assert answer.text.startswith("<!doctype html>\n<html lang=")
        assert [tag for tag, _ in page.attributes].count("h1") == 1
        assert "main" in page.ids
        assert page.links["Help"] == "/help"
        for tag, named in page.attributes:
            assert tag != "input" or named["type"] in KINDS


async def test_the_form_is_small_enough_for_a_bad_connection(newsroom: Newsroom) -> None:
    page = await newsroom.web.get("/donate")
    styles = await newsroom.web.get("/static/site.css")
    assert styles.status_code == 200
    assert len(page.content) + len(styles.content) < 20_000
    assert len((await newsroom.web.get("/article")).content) < 10_000


async def test_an_unknown_contribution_and_a_malformed_one_get_the_same_answer(
    newsroom: Newsroom,
) -> None:
    ids = ["0" * 32, "f" * 32, "x", "0" * 31, "0" * 33, "A" * 32, "%00", "..%2f", "a" * 4000]
    pages = [await newsroom.web.get(f"/thanks/{id_}") for id_ in ids]
    assert {page.status_code for page in pages} == {404}
    assert len({page.text for page in pages}) == 1
    answers = [await newsroom.web.get(f"/api/contributions/{id_}") for id_ in ids]
    assert {answer.status_code for answer in answers} == {404}
    assert len({str({**answer.json(), "instance": ""}) for answer in answers}) == 1
    assert "refresh" not in pages[0].headers


async def test_a_program_reads_the_state_of_a_gift_and_nothing_about_a_person(
    newsroom: Newsroom,
) -> None:
    created = await newsroom.requests_contribution(2700)
    answer = await newsroom.web.get(f"/api/contributions/{created.json()['id']}")
    assert answer.json() == created.json()
    assert set(answer.json()) == {"id", "status", "checkout_url"}
    await newsroom.pays(created.json()["checkout_url"])
    await newsroom.runs_until_idle()
    answer = await newsroom.web.get(f"/api/contributions/{created.json()['id']}")
    assert answer.json() == {"id": created.json()["id"], "status": "paid", "checkout_url": None}


# --- for programs and operators -------------------------------------------------------------------


async def test_the_api_describes_itself(newsroom: Newsroom) -> None:
    answer = await newsroom.web.get("/schema/openapi.json")
    schema = answer.json()
    assert schema["openapi"].startswith("3.1")
    start = schema["paths"]["/api/contributions"]["post"]
    state = schema["paths"]["/api/contributions/{contribution_id}"]["get"]
    (key,) = start["parameters"]
    assert (key["name"], key["in"]) == ("Idempotency-Key", "header")
    assert set(start["responses"]) >= {"201", "400"}
    assert set(state["responses"]) >= {"200"}
    body = start["requestBody"]["content"]["application/json"]["schema"]
    gift = schema["components"]["schemas"][body["$ref"].rsplit("/", 1)[1]]
    assert set(gift["required"]) == {"amount", "currency", "frequency"}
    assert gift["properties"]["amount"]["type"] == "integer"
    retry_after_schemas = {
        (path, method, status): answer.get("headers", {}).get("Retry-After", {}).get("schema")
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
        for status, answer in operation["responses"].items()
    }
    assert retry_after_schemas["/api/contributions", "post", "429"] is not None
    for (*_, status), found in retry_after_schemas.items():
        expected = {"type": "integer", "minimum": 1} if status in ("429", "503") else None
        assert found == expected


async def test_health_says_up_or_not_and_the_log_why(
    newsroom: Newsroom, cluster: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (await newsroom.web.get("/health/live")).json() == {"status": "ok"}
    idle = await newsroom.web.get("/health/ready")
    await newsroom.gives(2800)  # jobs wait
    busy = await newsroom.web.get("/health/ready")
    assert (idle.status_code, idle.json()) == (200, {"status": "ok"})
    assert (busy.content, busy.headers.keys()) == (idle.content, idle.headers.keys())
    with copy_database(cluster, "template1") as empty:
        without_tables = await readiness(newsroom, empty)
    without_database = await readiness(newsroom, empty)
    assert without_tables == without_database == (503, {"status": "unavailable"})
    # While a release is rolled out, the old code serves on with the new schema, if that says so.
    url = newsroom.settings.database_url.get_secret_value()
    with as_owner(url) as owner:
        [(version, note)] = owner.execute(
            "SELECT version_num, obj_description(CAST('alembic_version' AS regclass))"
            " FROM alembic_version"
        )
        assert note == f"serves since {version}"
        owner.execute("UPDATE alembic_version SET version_num = 'newer'")
        newer = await newsroom.web.get("/health/ready")
        owner.execute("COMMENT ON TABLE alembic_version IS 'serves since newer'")
        contracted = await newsroom.web.get("/health/ready")
        owner.execute("UPDATE alembic_version SET version_num = %s", [version])
        owner.execute(f"COMMENT ON TABLE alembic_version IS '{note}'".encode())
    assert (newer.status_code, contracted.status_code) == (200, 503)
    logged = [line for line in capsys.readouterr().err.splitlines() if "not_ready" in line]
    reasons = [json.loads(line)["outcome"] for line in logged]
    assert reasons == ["migrations_missing", "no_database", "migrations_missing"]


async def test_health_answers_whoever_asks_by_whatever_name(newsroom: Newsroom) -> None:
    for host in ("10.0.0.7:8000", "localhost", "evil.example"):
        for address in ("/health/live", "/health/ready"):
            answer = await newsroom.web.get(address, headers={"host": host})
            assert answer.status_code == 200
            assert host not in answer.text
        scraped = {"host": host, "authorization": f"Bearer {TOKEN}"}
        assert (await newsroom.web.get("/metrics", headers=scraped)).status_code == 200
        assert (await newsroom.web.get("/metrics", headers={"host": host})).status_code == 404


async def test_whoever_finds_a_hole_finds_where_to_report_it(newsroom: Newsroom) -> None:
    """Read as RFC 9116 says: fields, one a line, of which two are needed."""
    address = "/.well-known/security.txt"
    assert (await newsroom.web.get(address)).status_code == 404
    contact = "mailto:security@example.org"
    set_one = newsroom.settings.model_copy(update={"security_contact": contact})
    app = create_app(set_one, now=newsroom.clock)
    async with app.lifespan(), browser(app, BASE_URL) as web:
        answer = await web.get(address)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    fields = dict(line.split(": ", 1) for line in answer.text.splitlines())
    assert fields["Contact"] == contact
    expires_in = datetime.fromisoformat(fields["Expires"]) - newsroom.clock()
    assert timedelta(days=30) < expires_in < timedelta(days=365)
    assert fields["Canonical"] == f"{BASE_URL}{address}"
    assert set(fields) == {"Contact", "Expires", "Preferred-Languages", "Canonical"}


async def readiness(room: Newsroom, database: str) -> tuple[int, object]:
    """How ready the service is on another database."""
    settings = room.settings.model_copy(update={"database_url": SecretStr(database)})
    app = create_app(settings, now=room.clock)
    async with app.lifespan(), browser(app, BASE_URL) as web:
        assert (await web.get("/health/live")).status_code == 200
        ready = await web.get("/health/ready")
        return ready.status_code, ready.json()


async def test_the_address_of_the_form_holds_only_what_was_chosen(newsroom: Newsroom) -> None:
    await press(newsroom, await open_(newsroom, "/donate?campaign=spring"), frequency="once")
    back = newsroom.sandbox.requests[-1].params["cancel_url"]
    query = parse_qs(urlsplit(back).query)
    assert set(query) == {"frequency", "amount", "currency", "lang", "again"}
    assert Money(int(query["amount"][0]), query["currency"][0]) == Money(1000, "usd")


async def test_a_reader_who_typed_an_amount_beside_a_ticked_one_is_asked(
    newsroom: Newsroom,
) -> None:
    typed = {
        "intent": "0" * 32,
        "frequency": "once",
        "currency": "usd",
        "amount_once": "1000",
        "other_once": "30",
        "locale": "en",
    }
    answer = await newsroom.web.post("/donate", data=typed)
    assert answer.status_code == 422
    assert "Did you mean $10.00 or $30.00? Nothing was charged." in answer.text
    assert (
        await newsroom.web.post("/donate", data=typed | {"other_once": "10"})
    ).status_code == 303
