"""Donor safety: the notice before the amount, what is refused, what is never sent or stored, and
what happens when a card of a protected country still gets through.
"""

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest

from payments.core.settings import SettingsError, load
from payments.giving import cancellations
from payments.mail import links
from payments.safety import quarantine_response
from payments.web.donate import embed
from tests.support.donor import well_formed_page
from tests.support.geoip import country_database
from tests.support.jobs import make_jobs_due
from tests.support.newsroom import BASE_URL, NOON, Newsroom, settings_for
from tests.support.page import Page
from tests.support.safety_policy import (
    BELARUSIAN,
    MIRROR,
    ONION,
    POLICY,
    RUSSIAN,
    policy_file,
    protected,
)
from tests.support.secret_values import secret_named
from tests.support.stripe_dashboard import pay_once, subscribe, with_card

pytestmark = pytest.mark.anyio


@pytest.fixture
async def room(database: str, tmp_path: Path) -> AsyncIterator[Newsroom]:
    async with protected(database, tmp_path) as made:
        yield made


async def declared(room: Newsroom, amount: int = 500, frequency: str = "once") -> dict[str, Any]:
    """A program asks for somebody who has ticked the declaration."""
    answer = await room.requests_contribution(amount, frequency, declaration=True)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def pays_from(room: Newsroom, card: str, frequency: str = "once") -> dict[str, Any]:
    """A reader declares, and pays with this card all the same."""
    asked = await declared(room, frequency=frequency)
    await room.pays(asked["checkout_url"], card)
    return asked


# --- before the amount ----------------------------------------------------------------------------


async def test_the_notice_stands_before_the_amount_and_names_who_must_not_pay(
    room: Newsroom,
) -> None:
    for lang, *says in (
        ("en", "Read this before you pay", "Russia, Belarus", "Your bank sees", "used against"),
        ("ru", "Прочитайте, прежде чем платить", "Россия, Беларусь", "Ваш банк видит", "против"),
        ("ar", "اقرأوا هذا قبل أن تدفعوا", "روسيا، بيلاروس", "يرى مصرفكم", "يُستخدم ضدكم"),
    ):
        answer = await room.web.get(f"/donate?lang={lang}")
        page, text = well_formed_page(answer), answer.text
        for words in says:
            assert words in text, words
        assert text.index(says[0]) < text.index('name="frequency"') < text.index("amount_once")
        assert f'<samp dir="ltr">{room.settings.statement_descriptor}</samp>' in text
        boxes = [dict(a) for tag, a in page.attributes if tag == "input"]
        (box,) = [b for b in boxes if b.get("name") == "declaration"]
        assert "checked" not in box
        assert "required" in box
        (once,) = [b for b in boxes if b.get("name") == "frequency" and "checked" in b]
        assert once["value"] == "once"
        assert "<details" not in text[text.index('id="notice"') : text.index('id="declaration"')]


async def test_without_a_policy_nothing_of_it_is_shown_or_asked(newsroom: Newsroom) -> None:
    text = (await newsroom.web.get("/donate")).text
    assert 'name="declaration"' not in text
    assert (await newsroom.requests_contribution()).status_code == 201


async def test_a_form_without_the_declaration_is_refused_and_loses_nothing(
    room: Newsroom,
) -> None:
    page = well_formed_page(await room.web.get("/donate"))
    sent = page.form("/donate").submission(amount_once="other", other_once="7.50")
    sent.pop("declaration", None)
    answer = await room.web.post("/donate", data=sent)
    assert answer.status_code == 409
    assert "Nothing was charged." in answer.text
    assert 'href="#declaration"' in answer.text
    assert 'value="7.50"' in answer.text
    assert await room.count("contributions") == 0
    again = await room.web.post("/donate", data={**sent, "declaration": "yes"})
    assert again.status_code == 303, again.text


@pytest.mark.parametrize("declaration", [None, False])
async def test_a_program_without_the_declaration_is_refused(
    room: Newsroom, declaration: bool | None
) -> None:
    more: dict[str, Any] = {} if declaration is None else {"declaration": declaration}
    answer = await room.requests_contribution(500, **more)
    assert answer.status_code == 409
    problem = answer.json()
    assert problem["errors"][0]["pointer"] == "/declaration"
    assert problem["detail"].endswith("Nothing was charged.")
    assert await room.count("contributions") == 0
    assert [seen for seen in room.sandbox.requests if "checkout" in seen.path] == []


@pytest.mark.parametrize("wrong", ["true", 1, "yes"])
async def test_a_declaration_is_true_and_nothing_like_it(room: Newsroom, wrong: object) -> None:
    answer = await room.requests_contribution(500, declaration=wrong)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/declaration"


async def test_subscriptions_are_refused_where_the_policy_says_so(
    database: str, tmp_path: Path
) -> None:
    refusing = POLICY.replace('"allowed"', '"refused"')
    async with protected(database, tmp_path, refusing) as room:
        text = (await room.web.get("/donate?frequency=monthly&amount=500&currency=usd")).text
        assert "monthly" not in text.partition("<footer")[0]
        answer = await room.requests_contribution(500, "monthly", declaration=True)
        assert answer.status_code == 409
        assert answer.json()["errors"][0]["pointer"] == "/frequency"
        assert answer.json()["detail"].endswith("Nothing was charged.")
        page = well_formed_page(await room.web.get("/donate"))
        sent = page.form("/donate").submission(declaration="yes")
        sent |= {"frequency": "annual", "amount_annual": "2000"}
        assert (await room.web.post("/donate", data=sent)).status_code == 409
        assert (await room.requests_contribution(500, declaration=True)).status_code == 201
        assert await room.count("contributions") == 1


@pytest.mark.parametrize("taken", ["allowed", "refused"])
@pytest.mark.parametrize("lang", ["en", "ru"])
async def test_the_snippet_for_articles_says_and_offers_what_the_policy_leaves(
    database: str, tmp_path: Path, taken: str, lang: str
) -> None:
    policy = POLICY.replace('"allowed"', f'"{taken}"')
    async with protected(database, tmp_path, policy) as room:
        offered = ["once", "monthly", "annual"] if taken == "allowed" else ["once"]
        page = Page(embed.embed_snippet(room.settings, locale=lang))
        assert page.problems == []
        (widget,) = (found for tag, found in page.attributes if tag == "donate-form")
        assert widget["frequency"] == "once"
        assert widget.get("offered", "once monthly annual").split() == offered
        assert [part.partition(":")[0] for part in widget["presets"].split(";")] == offered
        radios = [one for tag, one in page.attributes if tag == "input" and "id" in one]
        often = [one for one in radios if one.get("name") == "frequency"]
        assert [one["value"] for one in often] == offered
        assert [one["value"] for one in often if "checked" in one] == ["once"]
        warned = "Do not pay if you are in one of these countries" if lang == "en" else "Беларусь"
        assert warned in page.text
        plain = Page(embed.embed_snippet(room.settings, locale=lang, plain=True))
        assert warned in plain.text
        gifts = [link for link in plain.links.values() if "/donate?" in link]
        assert len(gifts) == len(offered)
        assert all("frequency=once" in link for link in gifts) is (taken == "refused")


async def test_a_snippet_from_before_the_policy_gets_around_nothing(
    database: str, tmp_path: Path
) -> None:
    refusing = POLICY.replace('"allowed"', '"refused"')
    async with protected(database, tmp_path, refusing) as room:
        old = embed.embed_snippet(room.settings.model_copy(update={"donor_safety_policy": ""}))
        sent = (
            Page(old)
            .form(f"{BASE_URL}/donate", "get")
            .submission(frequency="monthly", amount="500")
        )
        fields = (
            well_formed_page(await room.web.get("/donate", params=sent))
            .form("/donate")
            .submission()
        )
        assert fields["frequency"] == "once"
        refused = await room.web.post("/donate", data=fields)
        assert refused.status_code == 409  # nobody ticked the declaration for the reader


async def test_stripes_page_repeats_the_notice_in_the_readers_language(room: Newsroom) -> None:
    asked = await room.requests_contribution(500, declaration=True, locale="ru")
    async with httpx.AsyncClient() as browser:
        page = (await browser.get(asked.json()["checkout_url"])).text
    assert "Россия, Беларусь" in page


# --- what goes to Stripe --------------------------------------------------------------------------


async def test_no_request_asks_stripe_to_write_to_a_donor_or_to_tell_their_bank_more(
    room: Newsroom,
) -> None:
    for frequency in ("once", "monthly", "annual"):
        await room.pays((await declared(room, frequency=frequency))["checkout_url"])
        await room.runs_until_idle()
    await pays_from(room, RUSSIAN, "monthly")
    await room.runs_until_idle()
    sessions = 0
    for seen in room.sandbox.requests:
        flat = str(seen.params)
        for never in ("receipt_email", "statement_descriptor", "customer_email", "description"):
            assert never not in flat, (seen.path, never)
        if seen.method == "POST" and seen.path == "/v1/checkout/sessions":
            sessions += 1
            assert seen.params["wallet_options"] == {"link": {"display": "never"}}
            assert seen.params["adaptive_pricing"] == {"enabled": "false"}
            assert "phone_number_collection" not in seen.params  # without it Stripe does not ask
            assert int(seen.params["expires_at"]) <= (NOON + timedelta(minutes=60)).timestamp()
            assert "consent_collection" not in seen.params
    assert sessions == 4


# --- a hint of where somebody is ------------------------------------------------------------------


async def test_the_hint_chooses_a_sentence_and_leaves_nothing(
    database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    geo = tmp_path / "geo.mmdb"
    geo.write_bytes(country_database({"81.0.0.0/8": "RU", "82.0.0.0/8": "NL"}))
    token = secret_named("metrics")
    more = {"geoip_database": str(geo), "metrics_token": token}
    async with protected(database, tmp_path, **more) as room:
        seen = {}
        for country, address in (("RU", "81.2.3.4"), ("NL", "82.2.3.4")):
            capsys.readouterr()
            headers = {"x-forwarded-for": address}
            page = await room.web.get("/donate", headers=headers)
            answer = await room.web.post(
                "/api/contributions",
                json={"amount": 500, "currency": "usd", "frequency": "once", "declaration": True},
                headers=headers | {"idempotency-key": uuid4().hex},
            )
            assert answer.status_code == 201
            stored = await room.rows(
                "SELECT frequency, amount, currency, status, origin, campaign, language, donor_id,"
                " protected, outcome_known_at, length(checkout_url), length(request_digest)"
                " FROM contributions WHERE id = :id",
                id=answer.json()["id"],
            )
            scrape = {"authorization": f"Bearer {token}"}
            metrics = (await room.web.get("/metrics", headers=scrape)).text
            assert "payments_alerts_open" in metrics
            labels = sorted(set(re.findall(r"^(\w+(?:\{[^}]*\})?) ", metrics, re.MULTILINE)))
            logs = capsys.readouterr().err
            seen[country] = (stored, labels, re.sub(r'"(timestamp|request_id)": "[^"]*"', "", logs))
            assert ("It looks as if you are" in page.text) is (country == "RU")
            assert "set-cookie" not in page.headers
        assert seen["RU"] == seen["NL"]


async def test_a_reader_abroad_who_reads_russian_pays_in_the_same_steps(
    database: str, tmp_path: Path
) -> None:
    geo = tmp_path / "geo.mmdb"
    geo.write_bytes(country_database({"82.0.0.0/8": "NL"}))
    async with protected(database, tmp_path, geoip_database=str(geo)) as room:
        for language in ("ru-RU,ru;q=0.9", "en"):
            headers = {"x-forwarded-for": "82.2.3.4", "accept-language": language}
            page = well_formed_page(await room.web.get("/donate", headers=headers))
            room.clock.advance(timedelta(seconds=30))
            sent = page.form("/donate").submission(declaration="yes")
            answer = await room.web.post("/donate", data=sent, headers=headers)
            assert answer.status_code == 303, answer.text


# --- mirrors --------------------------------------------------------------------------------------


async def test_a_reader_comes_back_to_the_mirror_they_came_by(
    database: str, tmp_path: Path
) -> None:
    async with protected(database, tmp_path, alternate_origins=MIRROR) as room:
        transport = room.web._transport
        async with httpx.AsyncClient(transport=transport, base_url=MIRROR) as web:
            body = {"amount": 500, "currency": "usd", "frequency": "once", "declaration": True}
            answer = await web.post(
                "/api/contributions", json=body, headers={"idempotency-key": uuid4().hex}
            )
            paid = await room.pays(answer.json()["checkout_url"])
        assert paid == f"{MIRROR}/thanks"
        async with httpx.AsyncClient(transport=transport, base_url="https://evil.example") as web:
            assert (await web.get("/donate")).status_code == 400
        assert (await room.web.get("/donate")).status_code == 200


def by(room: Newsroom, origin: str) -> httpx.AsyncClient:
    """A reader's browser, at one of our addresses."""
    return httpx.AsyncClient(transport=room.web._transport, base_url=origin)


def asked_of_checkout(room: Newsroom) -> dict[str, Any]:
    """What Stripe was last asked for a page."""
    seen = [s.params for s in room.sandbox.requests if s.path == "/v1/checkout/sessions"]
    last: dict[str, Any] = seen[-1]
    return last


@pytest.mark.parametrize(
    ("origin", "back"), [(MIRROR, MIRROR), (BASE_URL, BASE_URL), ("https://evil.example", None)]
)
async def test_whoever_replaces_a_card_comes_back_to_the_mirror_they_came_by(
    database: str, tmp_path: Path, origin: str, back: str | None
) -> None:
    async with protected(database, tmp_path, alternate_origins=MIRROR) as room:
        asked = await pays_from(room, "4242424242424242", "monthly")
        await room.runs_until_idle()
        gift = await room.contribution(asked["id"])
        link = urlsplit(links.card_update_link(room.ctx, asked["id"], gift.donor_id)).path
        async with by(room, origin) as web:
            answer = await web.post(link)
        if back is None:
            assert answer.status_code == 400
            return
        assert answer.status_code == 303, answer.text
        params = asked_of_checkout(room)
        assert params["mode"] == "setup"
        for address in (params["success_url"], params["cancel_url"]):
            assert address.startswith(f"{back}/fix/")


async def test_an_old_browser_at_a_mirror_is_no_stranger(database: str, tmp_path: Path) -> None:
    async with (
        protected(database, tmp_path, alternate_origins=MIRROR) as room,
        by(room, MIRROR) as web,
    ):
        for origin, status in ((MIRROR, 200), ("https://evil.example", 403)):
            form = {"address": "reader@example.org"}
            answer = await web.post("/manage", data=form, headers={"origin": origin})
            assert answer.status_code == status, answer.text


async def test_links_in_mails_lead_to_one_address_for_everybody(
    database: str, tmp_path: Path
) -> None:
    async with protected(
        database, tmp_path, alternate_origins=MIRROR, mail_link_origin=MIRROR
    ) as room:
        await pays_from(room, "4242424242424242", "monthly")
        await room.runs_until_idle()
        for origin in (BASE_URL, MIRROR):
            async with by(room, origin) as web:
                await web.post(
                    "/manage", data={"address": "reader@example.org"}, headers={"origin": origin}
                )
                await room.runs_due_jobs()
        assert len(room.mails()) == 2
        for mail in room.mails():
            assert f"{MIRROR}/manage/enter/" in mail.part()
            assert BASE_URL not in mail.part()


@pytest.mark.parametrize(
    ("alternate_origins", "mail_link_origin", "says"),
    [
        (MIRROR, "https://evil.example", "PAYMENTS_MAIL_LINK_ORIGIN"),
        (MIRROR, f"{MIRROR}/", "PAYMENTS_MAIL_LINK_ORIGIN"),
        ("http://mirror.example", "", "must be https"),
        ("http://lindenau.onion", "", "must be https"),
        (f"http://{'a' * 55}1.onion", "", "must be https"),
        (f"{ONION}:8080", "", "must be https"),
        (f"{ONION}/donate", "", "no path"),
    ],
)
def test_an_address_that_is_none_of_ours_stops_the_service(
    alternate_origins: str, mail_link_origin: str, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        settings_for(
            "postgresql+psycopg://x@h/x",
            "http://127.0.0.1:1",
            alternate_origins=alternate_origins,
            mail_link_origin=mail_link_origin,
        )


async def test_tor_browser_gets_onion_location_where_nothing_is_lost_by_going(
    database: str, tmp_path: Path
) -> None:
    async with protected(database, tmp_path, alternate_origins=f"{MIRROR},{ONION}/") as room:
        for path in ("/donate?amount=500&lang=ru", "/safety", "/", "/remind"):
            answer = await room.web.get(path)
            assert answer.headers["onion-location"] == f"{ONION}{path}"
        given = (await declared(room))["id"]
        for path in (f"/thanks/{given}", "/manage", "/nothing", "/embed.js", "/finance"):
            assert "onion-location" not in (await room.web.get(path)).headers, path
        async with by(room, ONION) as web:
            page = well_formed_page(await web.get("/donate"))
            room.clock.advance(timedelta(seconds=30))
            sent = page.form("/donate").submission(declaration="yes")
            answer = await web.post("/donate", data=sent)
        assert answer.status_code == 303, answer.text
        params = asked_of_checkout(room)
        assert params["success_url"] == f"{ONION}/thanks?lang=en"
        assert params["cancel_url"].startswith(f"{ONION}/donate?")
        assert ONION in (await room.web.get("/safety")).text


async def test_of_an_onion_service_each_circuit_has_its_own_limit(
    database: str, tmp_path: Path
) -> None:
    async with protected(database, tmp_path, alternate_origins=ONION, rate_limit_gifts=1) as room:
        body = {"amount": 500, "currency": "usd", "frequency": "once", "declaration": True}
        statuses = []
        for circuit in ("::1:1", "::1:2", "::1:1"):
            headers = {
                "x-forwarded-for": f"fc00:dead:beef:4dad{circuit}",
                "idempotency-key": uuid4().hex,
            }
            async with by(room, ONION) as web:
                answer = await web.post("/api/contributions", json=body, headers=headers)
            statuses.append(answer.status_code)
        assert statuses == [201, 201, 428]


async def test_without_an_onion_service_there_is_no_onion_location(room: Newsroom) -> None:
    assert "onion-location" not in (await room.web.get("/donate")).headers


# --- a card that should not have been -------------------------------------------------------------


async def quarantined(room: Newsroom) -> list[str]:
    rows = await room.rows("SELECT object_id FROM alerts WHERE kind = 'quarantined'")
    return [str(subject) for (subject,) in rows]


async def test_a_protected_card_ends_its_subscription_writes_to_nobody_and_opens_an_alert(
    room: Newsroom,
) -> None:
    asked = await pays_from(room, RUSSIAN, "monthly")
    await room.runs_until_idle()
    gift = await room.contribution(asked["id"])
    assert (gift.protected, gift.donor_id, gift.stripe_session_id) == (True, None, None)
    assert await room.count("donors") == 0
    assert await room.count("donor_customers") == 0
    assert await room.rows("SELECT status FROM subscriptions") == [("canceled",)]
    (charge,) = await room.rows("SELECT stripe_charge_id FROM charges")
    assert await quarantined(room) == [charge[0]]
    ((found, done),) = await room.rows("SELECT flagged_at, processed_at FROM quarantines")
    assert done - found < timedelta(minutes=1)  # type: ignore[operator]  # two moments
    for _ in range(4):
        await room.advances_time(timedelta(days=20))
        await room.runs_until_idle()
        await room.runs_sweeps()
    assert room.mails() == []
    assert await room.rows("SELECT * FROM outbox_mails WHERE status <> 'dropped'") == []
    assert len(await room.rows("SELECT 1 FROM charges")) == 1
    assert await room.count("donors") == 0
    assert await room.rows("SELECT * FROM refunds") == []  # a person decides


@pytest.mark.parametrize("frequency", ["once", "annual"])
async def test_the_policy_may_give_the_money_back_at_once(
    database: str, tmp_path: Path, frequency: str
) -> None:
    policy = POLICY + 'refunds = "auto"\n'
    async with protected(database, tmp_path, policy) as room:
        await pays_from(room, BELARUSIAN, frequency)
        await room.runs_until_idle()
        assert await room.rows("SELECT amount, status FROM refunds") == [(500, "succeeded")]
        assert len(await quarantined(room)) == 1
        assert room.mails() == []


async def test_the_same_word_of_stripe_many_times_is_one_quarantine(
    database: str, tmp_path: Path
) -> None:
    async with protected(database, tmp_path, POLICY + 'refunds = "auto"\n') as room:
        await pays_from(room, RUSSIAN, "monthly")
        await room.runs_until_idle()
        for delivery in list(room.delivered):
            await room.deliver([delivery])
        await room.runs_until_idle()
        assert await room.count("quarantines") == 1
        assert await room.count("refunds") == 1
        assert len(await quarantined(room)) == 1
        cancelled = [s for s in room.sandbox.requests if s.method == "DELETE" and s.status == 200]
        assert len(cancelled) == 1


async def test_the_order_of_stripes_words_does_not_matter(room: Newsroom) -> None:
    await pays_from(room, RUSSIAN, "monthly")
    await room.sandbox.advance_to_captures()
    for delivery in reversed(room.sandbox.take_deliveries()):
        await room.deliver([delivery])
        await room.runs_due_jobs()
    await room.runs_until_idle()
    assert await room.rows("SELECT status FROM subscriptions") == [("canceled",)]
    assert await room.count("donors") == 0
    assert room.mails() == []


async def test_a_stripe_that_is_away_only_costs_time(room: Newsroom) -> None:
    await pays_from(room, RUSSIAN, "monthly")
    room.sandbox.faults.add("DELETE", "/v1/subscriptions/sub_", "status_500", remaining=5)
    await room.runs_until_idle()
    for _ in range(6):
        await room.advances_time(timedelta(minutes=5))
        await cancellations.resume(room.ctx)
        await room.runs_until_idle()
    assert await room.rows("SELECT status FROM subscriptions") == [("canceled",)]
    assert room.mails() == []


async def test_without_webhooks_the_importer_finds_it(room: Newsroom) -> None:
    asked = await pays_from(room, RUSSIAN)
    await room.sandbox.advance_to_captures()
    room.sandbox.take_deliveries()  # lost
    await room.runs_sweeps()
    await room.runs_due_jobs()
    assert (await room.contribution(asked["id"])).protected
    assert len(await quarantined(room)) == 1


async def test_another_gift_of_the_same_donor_stays_theirs(room: Newsroom) -> None:
    fine = await declared(room)
    await room.pays(fine["checkout_url"])
    await room.runs_until_idle()
    await pays_from(room, RUSSIAN)
    await room.runs_until_idle()
    assert (await room.contribution(fine["id"])).donor_id is not None
    assert await room.count("donors") == 1
    assert len(await quarantined(room)) == 1


async def test_a_sale_of_a_shop_is_no_quarantine_and_what_waits_for_it_ends(
    database: str, tmp_path: Path
) -> None:
    policy = POLICY.replace('"BY"', '"CN"') + 'refunds = "auto"\n'
    async with protected(database, tmp_path, policy) as room:
        customer, card = with_card(room, "buyer@example.org", "tok_unionpay")
        pay_once(room, customer, card, 2900, shop="letters")
        failed = pay_once(room, customer, card, 1900, shop="letters")
        await room.runs_until_idle()
        # Whose they are is not known yet: each waits, and nobody is called.
        done = "SELECT count(*) FROM quarantines WHERE processed_at IS NOT NULL"
        assert (await room.count("quarantines"), await room.rows(done)) == (2, [(0,)])
        assert await quarantined(room) == []
        # One of them fails after all, as a debit does after days. The other turns out to be a sale.
        at_stripe = room.sandbox.account.store.objects
        room.sandbox.account.set_fields(at_stripe[failed], status="failed")
        await make_jobs_due(room)
        await room.runs_due_jobs()
        assert await room.rows(done) == [(1,)]
        room.sandbox.account.set_fields(at_stripe[failed], status="succeeded")
        await room.advances_time(timedelta(hours=2))
        await make_jobs_due(room)
        await room.runs_until_idle()
        await room.runs_sweeps()
        assert await room.rows(done) == [(2,)]
        assert await quarantine_response.resume(room.ctx) == 0
        assert await quarantined(room) == []
        assert await room.count("refunds") == 0
        # Whose an invoice is, is known at once.
        subscribe(room, customer, card, 1500, product="letters", shop="letters")
        await room.runs_until_idle()
        assert await room.rows(done) == [(await room.count("quarantines"),)]
        assert await room.rows("SELECT kind FROM alerts WHERE closed_at IS NULL") == []
        assert room.mails() == []


async def test_a_card_from_elsewhere_is_left_alone(room: Newsroom) -> None:
    asked = await declared(room, frequency="monthly")
    await room.pays(asked["checkout_url"])
    await room.runs_until_idle()
    assert await quarantined(room) == []
    assert await room.rows("SELECT status FROM subscriptions") == [("active",)]


# --- the file -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("protected_countries = []", "protected_countries"),
        ('protected_countries = ["RU"', "is not TOML"),
        ('protected_countries = ["Russia"]', "protected_countries"),
        ('protected_countries = ["QQ"]', "QQ is not a country"),
        ('protected_countries = ["RU"]\nrecurring = "maybe"', "recurring"),
        ('protected_countries = ["RU"]\nrefund = "auto"', "refund"),
        ('protected_countries = ["RU"]\n[texts.en]\ntitle = "Read this now"', "who"),
        (
            'protected_countries = ["RU"]\nforbidden_descriptor_words = ["x"]',
            "forbidden_descriptor_words",
        ),
    ],
)
def test_a_policy_that_makes_no_sense_stops_the_service(
    tmp_path: Path, text: str, says: str
) -> None:
    environ = {
        f"PAYMENTS_{name.upper()}": value
        for name, value in {
            "database_url": "postgresql+psycopg://x@localhost/x",
            "base_url": BASE_URL,
            "stripe_api_key": "sk_test_" + "0" * 24,
            "donor_safety_policy": policy_file(tmp_path, text),
        }.items()
    }
    with pytest.raises(SettingsError) as refused:
        load(environ)
    assert "PAYMENTS_DONOR_SAFETY_POLICY" in str(refused.value)
    assert says in str(refused.value)


def test_a_newsrooms_own_words_take_the_place_of_ours(tmp_path: Path) -> None:
    words = "\n".join(
        f'{name} = "Our counsel says {name}."'
        for name in ("title", "who", "bank", "later", "declaration", "checkout")
    )
    file = policy_file(tmp_path, f'protected_countries = ["RU"]\n[texts.en]\n{words}\n')
    settings = settings_for(
        "postgresql+psycopg://x@h/x", "http://127.0.0.1:1", donor_safety_policy=file
    )
    assert settings.safety_policy is not None
    assert settings.safety_policy.texts["en"].who == "Our counsel says who."
