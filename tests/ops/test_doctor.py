"""The doctor names what is wrong, a wrong statement closes donations, time takes away what it must,
and the page about safety says all of it.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from babel.messages.pofile import read_po

from payments.core import i18n
from payments.core.settings import Settings
from payments.infra import db
from payments.ops import doctor, schedules
from payments.risk import donor_notice, statement_descriptor
from payments.risk.statement_descriptor import CheckFinding
from payments.safety import data_inventory, descriptor_review, retention
from payments.web import app
from tests.safety.test_donor_safety import POLICY, policy_file
from tests.storm.test_emergency_stop import environ
from tests.support.donor import well_formed_page
from tests.support.newsroom import Newsroom, open_newsroom

assert app  # it imports every noun, so that each table is known


@pytest.fixture
async def room(database: str, tmp_path: Path) -> AsyncIterator[Newsroom]:
    policy = POLICY.replace('"The Example"', '"Новая газета"')
    async with open_newsroom(
        database, donor_safety_policy=policy_file(tmp_path, policy), secret_keys="k" * 64
    ) as made:
        await descriptor_review.record_review(made.ctx)
        yield made
        await made.runs_until_idle()
        assert made.sandbox.problems == []


async def problems(room: Newsroom) -> dict[str, str]:
    found = await doctor.run_checks(room.ctx)
    return {one.name: one.description for one in found if not one.ok}


# --- the doctor -----------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_service_that_is_well_has_no_problem(room: Newsroom) -> None:
    found: list[CheckFinding] = await doctor.run_checks(room.ctx)
    assert [one for one in found if not one.ok] == []
    assert {one.name.partition(":")[0] for one in found} >= set(doctor.CHECKS) - {"words"}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("chosen", "name"),
    [
        ({"statement_descriptor": "SOMETHING ELSE"}, "descriptor"),
        ({"business_name": "Novaya Gazeta Europe"}, "words:business_name"),
        ({"support_url": "https://novayagazeta.example"}, "words:support_url"),
        ({"statement_descriptor_prefix": "NOVAIAGAZ*ETA"}, "words:statement_descriptor_prefix"),
        ({"display_name": "новая-ГАЗЕТА"}, "words:display_name"),
    ],
)
async def test_what_a_bank_or_a_page_would_show_is_read_from_stripe(
    room: Newsroom, chosen: dict[str, str], name: str
) -> None:
    room.sandbox.update_account(**chosen)
    wrong = await problems(room)
    assert list(wrong) == [name]
    assert "газета" not in wrong[name].casefold()  # the word itself is not repeated


@pytest.mark.anyio
async def test_a_clock_that_is_wrong_is_a_problem(room: Newsroom) -> None:
    ahead = room.clock.current + timedelta(minutes=2)
    room.sandbox.clock._wall_clock = lambda: ahead  # Stripe's own time
    assert list(await problems(room)) == ["clock"]


@pytest.mark.anyio
async def test_a_mail_server_and_a_stripe_that_are_away_are_reported_and_end_nothing(
    room: Newsroom,
) -> None:
    await room.mail_server.aclose()
    assert list(await problems(room)) == ["mail"]
    room.sandbox.faults.add("GET", "/v1/account", "status_500", remaining=9)
    room.sandbox.faults.add("GET", "/v1/webhook_endpoints", "status_500", remaining=9)
    assert {"mail", "descriptor", "webhook"} <= set(await problems(room))


@pytest.mark.anyio
async def test_an_endpoint_that_lacks_events_and_books_that_can_be_changed_are_problems(
    room: Newsroom, database: str
) -> None:
    (end,) = room.sandbox.account.store.of_kind("webhook_endpoint")
    end["enabled_events"] = ["charge.succeeded"]
    engine = db.create_engine(database, role=None)
    async with engine.begin() as owner:
        await owner.exec_driver_sql(f"GRANT UPDATE ON ledger_entries TO {db.APP_ROLE}")
    await engine.dispose()
    wrong = await problems(room)
    assert set(wrong) == {"webhook", "database:role"}
    assert "charge.updated" in wrong["webhook"]
    assert "ledger_entries" in wrong["database:role"]


@pytest.mark.anyio
async def test_the_doctor_looks_at_every_table_that_refuses_changes(room: Newsroom) -> None:
    guarded = await room.rows(
        "SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname = 'append_only' ORDER BY 1"
    )
    assert [table for (table,) in guarded] == sorted(doctor.APPEND_ONLY_TABLES)


@pytest.mark.anyio
async def test_a_banks_real_line_is_asked_for_every_hundred_days(room: Newsroom) -> None:
    await room.advances_time(timedelta(days=100))
    await descriptor_review.alert_if_due(room.ctx)
    assert await problems(room) == {}
    assert await room.count("alerts") == 0
    await room.advances_time(timedelta(days=1))
    for _ in range(2):  # the schedule calls a person, once
        await descriptor_review.alert_if_due(room.ctx)
    alert = "SELECT kind, closed_at IS NULL FROM alerts"
    assert await room.rows(alert) == [("descriptor_review_due", True)]
    wrong = await problems(room)
    assert list(wrong) == ["descriptor-review"]
    assert "2026-11-22" in wrong["descriptor-review"]
    assert "ack-descriptor" in wrong["descriptor-review"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "payments.cli", "doctor", "ack-descriptor",
        env={**os.environ, **environ(room.settings)},
    )  # fmt: skip
    assert await process.wait() == 0
    assert await room.rows(alert) == [("descriptor_review_due", False)]
    ((seen,),) = await room.rows(
        "SELECT reached_at FROM import_cursors WHERE name = 'descriptor_review'"
    )
    assert abs(db.utc_now() - seen) < timedelta(minutes=5)  # type: ignore[operator]  # two moments


@pytest.mark.anyio
async def test_without_a_word_of_it_the_bank_line_is_a_problem(
    database: str, tmp_path: Path
) -> None:
    more = {"donor_safety_policy": policy_file(tmp_path), "secret_keys": "k" * 64}
    async with open_newsroom(database, **more) as made:
        assert "never" in (await problems(made))["descriptor-review"]
    async with open_newsroom(database) as made:  # no policy, nobody to protect
        assert not {"descriptor-review", "radar"} & set(await problems(made))


async def said(room: Newsroom, name: str) -> CheckFinding:
    (found,) = (one for one in await doctor.run_checks(room.ctx) if one.name == name)
    return found


@pytest.mark.anyio
async def test_the_newest_card_of_a_protected_country_tells_whether_radar_stops_them(
    database: str, tmp_path: Path
) -> None:
    # The stand-in knows one card that Radar blocks, and it is American.
    policy = POLICY.replace('"RU"', '"US"')
    file = policy_file(tmp_path, policy)
    async with open_newsroom(database, donor_safety_policy=file, secret_keys="k" * 64) as room:
        unproven = await said(room, "radar")
        assert unproven.ok
        assert "nothing proves it" in unproven.description
        assert ":card_country: = 'US' or :card_country: = 'BY'" in unproven.description
        for card, stopped in (("4100000000000019", True), ("4000001120000005", False)):
            asked = (await room.requests_contribution(500, declaration=True)).json()
            await room.pays(asked["checkout_url"], card)
            await room.advances_time(timedelta(minutes=1))
            found = await said(room, "radar")
            assert found.ok is stopped, found.description
            assert ("reached its bank" in found.description) is not stopped
        await room.advances_time(timedelta(days=101))
        assert "nothing proves it" in (await said(room, "radar")).description


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("base", "proxies", "says"),
    [
        ("https://support.example", None, "set PAYMENTS_TRUSTED_PROXIES"),
        ("https://support.example", "127.0.0.1,::1", None),
        ("https://support.example", "10.0.0.0/8,fd00::/16", None),
        ("https://support.example", "0.0.0.0/0", "so wide"),
        ("https://support.example", "::/0", "so wide"),
        ("http://127.0.0.1:8000", None, None),
    ],
)
async def test_behind_a_proxy_nobody_believes_all_readers_would_be_one(
    newsroom: Newsroom, base: str, proxies: str | None, says: str | None
) -> None:
    values = newsroom.settings.model_dump(include={"database_url", "stripe_api_key"})
    values |= {"base_url": base} | ({} if proxies is None else {"trusted_proxies": proxies})
    ctx = replace(newsroom.ctx, settings=Settings.model_validate(values))
    (found,) = await doctor.CHECKS["proxies"](ctx)
    assert found.ok is (says is None), found.description
    assert (says or "") in found.description


@pytest.mark.anyio
async def test_where_links_of_mails_lead_holds_no_forbidden_word(
    database: str, tmp_path: Path
) -> None:
    policy = POLICY.replace('"The Example"', '"lindenau-post"')
    given = {
        "donor_safety_policy": policy_file(tmp_path, policy),
        "alternate_origins": "https://lindenau-post.example",
        "mail_link_origin": "https://lindenau-post.example",
    }
    async with open_newsroom(database, **given) as room:
        assert "a forbidden word" in (await said(room, "mail:links")).description
        assert (await said(room, "mail:address")).ok


@pytest.mark.anyio
async def test_the_command_prints_a_line_for_each_and_its_code_tells(room: Newsroom) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "payments.cli", "doctor", "--json",
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **environ(room.settings)},
    )  # fmt: skip
    out, _ = await process.communicate()
    wrong = [one["name"] for one in json.loads(out) if not one["ok"]]
    assert process.returncode == 4
    assert "mail" in wrong  # that environment names no mail server
    assert "descriptor" in wrong
    assert "database:role" not in wrong


# --- a wrong statement ----------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_forbidden_word_closes_donations_until_it_is_gone(room: Newsroom) -> None:
    assert (await room.requests_contribution(500, declaration=True)).status_code == 201
    room.sandbox.update_account(business_name="Новая газета")
    await room.runs_until_idle()  # account.updated
    answer = await room.requests_contribution(500, declaration=True)
    assert answer.status_code == 503
    assert answer.json()["detail"].endswith("Nothing was charged.")
    page = well_formed_page(await room.web.get("/donate"))
    sent = page.form("/donate").submission(declaration="yes")
    closed = await room.web.post("/donate", data=sent)
    assert closed.status_code == 503
    assert "We have closed donations" in closed.text
    assert await room.rows("SELECT kind FROM alerts WHERE closed_at IS NULL") == [
        ("statement_descriptor",)
    ]
    room.sandbox.update_account(business_name="Lindenau")
    await room.runs_until_idle()
    assert (await room.requests_contribution(500, declaration=True)).status_code == 201


@pytest.mark.anyio
async def test_the_schedule_sees_it_without_stripes_word(room: Newsroom) -> None:
    room.sandbox.update_account(statement_descriptor="NOVAYA GAZETA")
    room.sandbox.take_deliveries()  # lost
    await statement_descriptor.scheduled_check(room.ctx)
    assert (await room.requests_contribution(500, declaration=True)).status_code == 503


# --- the page and the table behind it -------------------------------------------------------------


def test_every_column_of_the_schema_is_classified_once() -> None:
    tables = db.Base.metadata.tables.values()
    schema = sorted((table.name, column.name) for table in tables for column in table.columns)
    assert sorted(data_inventory.all_columns()) == schema


@pytest.mark.anyio
@pytest.mark.parametrize("lang", i18n.SUPPORTED_LOCALES)
async def test_the_page_says_what_is_retained_in_every_language(room: Newsroom, lang: str) -> None:
    answer = await room.web.get(f"/safety?lang={lang}")
    assert answer.status_code == 200
    well_formed_page(answer)
    words = i18n.translations(lang)
    for one in data_inventory.DATA_CLASSES:
        for text in (one.description, one.retention):
            assert lang == "en" or words.gettext(text) != text, text
            assert words.gettext(text).replace("'", "&#39;") in answer.text
    assert room.settings.statement_descriptor in answer.text
    assert "address_hash" in answer.text


def test_the_notice_is_in_every_catalogue() -> None:
    for lang in i18n.SUPPORTED_LOCALES[1:]:
        with (i18n.LOCALES_DIR / lang / i18n.CATALOGUE).open("rb") as file:
            catalogue = read_po(file, locale=lang)
        for text in (
            donor_notice.TITLE_TEXT,
            donor_notice.ELIGIBILITY_TEXT,
            donor_notice.BANK_VISIBILITY_TEXT,
            donor_notice.LONG_TERM_RISK_TEXT,
            donor_notice.LOCATION_WARNING_TEXT,
        ):
            found = catalogue.get(text)
            assert found is not None, text
            assert found.string, text


# --- time -----------------------------------------------------------------------------------------


async def night(room: Newsroom) -> None:
    await schedules.purge_expired(room.ctx)


@pytest.mark.anyio
async def test_a_donor_is_forgotten_thirteen_months_after_the_last_gift_to_the_day(
    room: Newsroom,
) -> None:
    asked = (await room.requests_contribution(500, declaration=True)).json()
    await room.pays(asked["checkout_url"])
    await room.runs_until_idle()
    await room.runs_sweeps()
    await room.advances_time(data_inventory.DONOR_LINK_RETENTION - timedelta(hours=1))
    await night(room)
    assert await room.count("donors") == 1
    await room.advances_time(timedelta(days=1))
    await night(room)
    assert await room.count("donors") == 0
    gift = await room.contribution(asked["id"])
    assert (gift.donor_id, gift.stripe_session_id, gift.amount) == (None, None, 500)
    assert await room.failed_integrity_checks() == []


@pytest.mark.anyio
async def test_a_subscription_that_goes_on_retains_its_donor(room: Newsroom) -> None:
    asked = (await room.requests_contribution(500, "annual", declaration=True)).json()
    await room.pays(asked["checkout_url"])
    await room.runs_until_idle()
    for _ in range(3):
        await room.advances_time(timedelta(days=200))
        await room.runs_until_idle()
        await night(room)
    assert await room.count("donors") == 1


@pytest.mark.anyio
async def test_eight_years_leave_the_books_and_nobody(room: Newsroom) -> None:
    for frequency in ("once", "monthly"):
        asked = (await room.requests_contribution(500, frequency, declaration=True)).json()
        await room.pays(asked["checkout_url"], email=f"{frequency}@example.org")
    await room.runs_until_idle()
    await room.advances_time(timedelta(days=40))
    await room.runs_until_idle()
    ((promise,),) = await room.rows("SELECT stripe_subscription_id FROM subscriptions")
    room.sandbox.dashboard_request("DELETE", f"/v1/subscriptions/{promise}")
    await room.runs_until_idle()
    await room.runs_sweeps()
    total = (
        "SELECT debit, credit, sum(amount), count(*) FROM ledger_entries GROUP BY 1, 2 ORDER BY 1"
    )
    before = await room.rows(total)
    assert await room.count("donors") == 2
    for _ in range(8 * 12 + 1):
        await room.advances_time(timedelta(days=30, hours=11))
        await night(room)
    assert await room.rows(total) == before
    for table in (
        "donors",
        "donor_customers",
        "outbox_mails",
        "sign_in_links",
        "erasures",
        "muted_subscriptions",
    ):
        assert await room.count(table) == 0, table
    kept = await room.rows(
        "SELECT donor_id, stripe_session_id, checkout_url, idempotency_key_hash, language"
        "  FROM contributions"
    )
    assert kept == [(None, None, None, None, "en")] * 2
    rows = await room.rows("SELECT stripe_subscription_id, stripe_customer_id FROM subscriptions")
    assert [(str(one).startswith("forgotten_"), who) for one, who in rows] == [(True, "forgotten")]
    assert await room.failed_integrity_checks() == []
    await retention.purge_expired(room.ctx)  # twice is once
    assert await room.rows(total) == before
