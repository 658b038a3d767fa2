"""The doctor names what is wrong with the installation, and only that."""

import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy.engine import make_url

from payments.core.settings import Settings
from payments.infra import db, migrate, service_role
from payments.mail import dkim_signature
from payments.ops import doctor
from payments.risk.statement_descriptor import CheckFinding
from payments.safety import descriptor_review
from tests.support import command_line
from tests.support.database_owner import as_owner
from tests.support.dns_server import serving_dns
from tests.support.newsroom import Newsroom, open_newsroom
from tests.support.safety_policy import POLICY, policy_file
from tests.support.secret_values import secret_named

pytestmark = pytest.mark.anyio
OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


@pytest.fixture
async def room(database: str, tmp_path: Path) -> AsyncIterator[Newsroom]:
    policy = POLICY.replace('"The Example"', '"Новая газета"')
    async with open_newsroom(
        database,
        donor_safety_policy=policy_file(tmp_path, policy),
        secret_keys=secret_named("keys"),
    ) as made:
        await descriptor_review.record_review(made.ctx)
        yield made
        await made.runs_until_idle()
        assert made.sandbox.problems == []


async def problems(room: Newsroom) -> dict[str, str]:
    findings = await doctor.run_checks(room.ctx)
    return {finding.name: finding.description for finding in findings if not finding.ok}


async def finding_of(room: Newsroom, name: str) -> CheckFinding:
    (finding,) = (one for one in await doctor.run_checks(room.ctx) if one.name == name)
    return finding


async def test_a_service_that_is_well_has_no_problem(room: Newsroom) -> None:
    findings = await doctor.run_checks(room.ctx)
    assert [finding for finding in findings if not finding.ok] == []
    assert {finding.name.partition(":")[0] for finding in findings} >= set(doctor.CHECKS)


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


async def test_a_clock_that_is_wrong_is_a_problem(room: Newsroom) -> None:
    ahead = room.clock.current + timedelta(minutes=2)
    room.sandbox.clock._wall_clock = lambda: ahead  # Stripe's own time
    assert list(await problems(room)) == ["clock"]


async def test_a_mail_server_and_a_stripe_that_are_away_are_reported_and_end_nothing(
    room: Newsroom,
) -> None:
    await room.mail_server.aclose()
    assert list(await problems(room)) == ["mail"]
    room.sandbox.faults.add("GET", "/v1/account", "status_500", remaining=9)
    room.sandbox.faults.add("GET", "/v1/webhook_endpoints", "status_500", remaining=9)
    assert {"mail", "descriptor", "webhook"} <= set(await problems(room))


async def test_an_endpoint_that_lacks_events_and_books_that_can_be_changed_are_problems(
    room: Newsroom, database: str
) -> None:
    (endpoint,) = room.sandbox.account.store.of_kind("webhook_endpoint")
    endpoint["enabled_events"] = ["charge.succeeded"]
    engine = db.create_engine(database, role=None)
    async with engine.begin() as owner:
        await owner.exec_driver_sql(f"GRANT UPDATE ON ledger_entries TO {service_role.APP_ROLE}")
    await engine.dispose()
    wrong = await problems(room)
    assert set(wrong) == {"webhook", "database:role"}
    assert "charge.updated" in wrong["webhook"]
    assert "ledger_entries" in wrong["database:role"]


async def test_the_doctor_looks_at_every_table_that_refuses_changes(room: Newsroom) -> None:
    guarded = await room.rows(
        "SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname = 'append_only' ORDER BY 1"
    )
    assert [table for (table,) in guarded] == sorted(doctor.APPEND_ONLY_TABLES)


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
    acknowledged = await command_line.run(room.settings, "doctor", "ack-descriptor")
    assert acknowledged.exit_code == 0, acknowledged.stderr
    assert await room.rows(alert) == [("descriptor_review_due", False)]
    ((reviewed_at,),) = await room.rows(
        "SELECT reached_at FROM import_cursors WHERE name = 'descriptor_review'"
    )
    assert abs(db.utc_now() - reviewed_at) < timedelta(minutes=5)  # type: ignore[operator]  # two moments


async def test_without_a_word_of_it_the_bank_line_is_a_problem(
    database: str, tmp_path: Path
) -> None:
    more = {"donor_safety_policy": policy_file(tmp_path), "secret_keys": secret_named("keys")}
    async with open_newsroom(database, **more) as made:
        assert "never" in (await problems(made))["descriptor-review"]
    async with open_newsroom(database) as made:  # no policy, nobody to protect
        assert not {"descriptor-review", "radar"} & set(await problems(made))


async def test_the_newest_card_of_a_protected_country_tells_whether_radar_stops_them(
    database: str, tmp_path: Path
) -> None:
    # The stand-in knows one card that Radar blocks, and it is American.
    policy = POLICY.replace('"RU"', '"US"')
    file = policy_file(tmp_path, policy)
    async with open_newsroom(
        database, donor_safety_policy=file, secret_keys=secret_named("keys")
    ) as room:
        unproven = await finding_of(room, "radar")
        assert unproven.ok
        assert "nothing proves it" in unproven.description
        assert ":card_country: = 'US' or :card_country: = 'BY'" in unproven.description
        for card, stopped in (("4100000000000019", True), ("4000001120000005", False)):
            contribution = (await room.requests_contribution(500, declaration=True)).json()
            await room.pays(contribution["checkout_url"], card)
            await room.advances_time(timedelta(minutes=1))
            found = await finding_of(room, "radar")
            assert found.ok is stopped, found.description
            assert ("reached its bank" in found.description) is not stopped
        await room.advances_time(timedelta(days=101))
        assert "nothing proves it" in (await finding_of(room, "radar")).description


@pytest.mark.parametrize(
    ("base", "proxies", "says"),
    [
        ("https://127.0.0.1:9", "10.0.0.0/8,fd00::/16", "did not say what it sees"),
        ("https://support.example", "0.0.0.0/0", "so wide"),
        ("https://support.example", "::/0", "so wide"),
        ("http://127.0.0.1:9", "", None),
    ],
)
async def test_proxies_that_cannot_be_right_are_named(
    newsroom: Newsroom, base: str, proxies: str, says: str | None
) -> None:
    values = newsroom.settings.model_dump(include={"database_url", "stripe_api_key"})
    values |= {"base_url": base, "trusted_proxies": proxies}
    ctx = replace(newsroom.ctx, settings=Settings.model_validate(values))
    (found,) = await doctor.CHECKS["proxies"](ctx)
    assert found.ok is (says is None), found.description
    assert (says or "") in found.description


async def database_findings(room: Newsroom, url: str) -> list[str]:
    """What is wrong with a database of live money, for who logs in by this URL."""
    settings = Settings.model_validate(
        {
            "base_url": room.settings.base_url,
            "database_url": url,
            "stripe_api_key": "sk_live_" + secret_named("live")[:24],
        }
    )
    engine = db.create_engine(url)
    try:
        ctx = replace(room.ctx, settings=settings, sessions=db.create_session_factory(engine))
        findings = await doctor.CHECKS["database"](ctx)
    finally:
        await engine.dispose()
    return [one.name for one in findings if not one.ok and one.name != "database:fsync"]


async def test_two_logins_as_documented_keep_the_service_from_owning_the_books(
    room: Newsroom, cluster: str
) -> None:
    [statements] = re.findall(r"```sql\n(.*?)```", OPERATIONS.read_text(), re.DOTALL)
    # Another database of this cluster was migrated before, and has made the role.
    name = "two_logins"
    statements = statements.replace("CREATE ROLE payments_app NOLOGIN;\n", "")
    statements = statements.replace("DATABASE payments", f"DATABASE {name}")
    at = make_url(cluster).set(database=name)
    owner, service = (
        at.set(username=f"payments_{who}", password=word).render_as_string(hide_password=False)
        for who, word in (("owner", "one"), ("service", "another"))
    )
    try:
        with as_owner(cluster) as administrator:
            for statement in statements.splitlines():
                administrator.execute(statement.encode())
        migrate.upgrade(owner)
        assert await database_findings(room, service) == []
        assert await database_findings(room, owner) == ["database:login"]
    finally:
        with as_owner(cluster) as administrator:
            administrator.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())
            administrator.execute("DROP ROLE IF EXISTS payments_service, payments_owner")


async def test_a_database_on_another_machine_is_reached_by_tls_or_the_doctor_says_so(
    room: Newsroom,
) -> None:
    for host, is_well in (("127.0.0.1", True), ("db.example.org", False)):
        update = {
            "database_url": SecretStr(f"postgresql+psycopg://nobody@{host}/none"),
            "stripe_api_key": SecretStr("sk_live_" + secret_named("live")[:24]),
        }
        ctx = replace(room.ctx, settings=room.settings.model_copy(update=update))
        found = await doctor.check_database_connection(ctx)
        assert found.ok is is_well, found.description


async def test_where_links_of_mails_lead_holds_no_forbidden_word(
    database: str, tmp_path: Path
) -> None:
    policy = POLICY.replace('"The Example"', '"lindenau-post"')
    given = {
        "donor_safety_policy": policy_file(tmp_path, policy),
        "alternate_origins": "https://lindenau-post.example",
        "mail_link_origin": "https://lindenau-post.example",
    }
    key = tmp_path / "dkim.pem"
    key.write_text(dkim_signature.new_key())
    key.chmod(0o600)
    given |= {
        "dkim_domain": "lindenau.example",
        "dkim_selector": "lindenau-post-1",
        "dkim_key_file": str(key),
    }
    async with open_newsroom(database, **given) as room:
        assert "a forbidden word" in (await finding_of(room, "mail:selector")).description
        assert "a forbidden word" in (await finding_of(room, "mail:links")).description
        assert (await finding_of(room, "mail:address")).ok


async def test_the_command_prints_a_line_for_each_and_its_code_tells(room: Newsroom) -> None:
    changed = {
        "PAYMENTS_SMTP_URL": "smtp://127.0.0.1:9",
        "PAYMENTS_STATEMENT_DESCRIPTOR": "SOMETHING ELSE",
        "PAYMENTS_MAIL_FROM": "post@lindenau.press",
    }
    async with serving_dns() as server:
        server.records["lindenau.press"] = ["v=spf1 mx -all"]
        changed["PAYMENTS_DNS_RESOLVER"] = server.address
        result = await command_line.run(room.settings, "doctor", "--json", **changed)
    seen = {finding["name"]: finding["ok"] for finding in json.loads(result.stdout)}
    assert (seen["sender:spf"], seen["sender:dmarc"]) == (True, False)
    del changed["PAYMENTS_MAIL_FROM"]
    wrong = [finding["name"] for finding in json.loads(result.stdout) if not finding["ok"]]
    assert result.exit_code == 4
    assert {"mail", "descriptor"} <= set(wrong)
    assert "database:role" not in wrong
    printed = await command_line.run(room.settings, "doctor", **changed)
    assert printed.exit_code == 4
    assert "PROBLEM mail: " in printed.stdout.decode()
