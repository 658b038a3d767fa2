"""Refunds, disputes and the audit log as files: what Stripe itself says, and nobody in them."""

import asyncio
import csv
import io
import os
import re
from pathlib import Path

import pytest

from payments.accounting.exports.record_files import COLUMNS, RecordKind
from tests.support import command_line
from tests.support.colleague import Colleague
from tests.support.newsroom import Newsroom

pytestmark = pytest.mark.anyio
DOCUMENT = Path(__file__).parents[2] / "docs" / "export-columns.md"


async def rows_of(ada: Colleague, address: str) -> list[dict[str, str]]:
    answer = await ada.web.get(f"/finance/{address}")
    assert answer.status_code == 200, answer.text[-400:]
    assert answer.headers["content-type"].startswith("text/csv")
    assert (
        await ada.web.get(f"/finance/{address}")
    ).content == answer.content or "audit" in address
    return list(csv.DictReader(io.StringIO(answer.text)))


async def at_stripe(room: Newsroom, objects: str) -> list[dict[str, object]]:
    data: list[dict[str, object]] = room.sandbox.dashboard_request("GET", f"/v1/{objects}")["data"]
    return data


async def test_the_files_say_what_stripe_says_as_the_page_was_filtered_and_name_no_donor(
    ada: Colleague, tmp_path: Path
) -> None:
    room = ada.room
    ((charge,),) = await room.rows("SELECT stripe_charge_id FROM charges WHERE amount = 5000")
    room.sandbox.dispute(str(charge), amount=1700)
    await room.runs_until_idle()
    ((refunded,),) = await room.rows("SELECT stripe_charge_id FROM charges WHERE amount = 2500")
    sent = await ada.sends(f"/finance/refund/{refunded}", amount="1", reason="duplicate")
    assert sent.status_code == 303, sent.text[-300:]
    await room.runs_until_idle()
    for kind, columns in (
        ("refunds", ("refund_id", "amount_minor", "currency", "status", "balance_transaction")),
        ("disputes", ("dispute_id", "amount_minor", "currency", "status")),
    ):
        rows = await rows_of(ada, f"{kind}.csv")
        names = ("id", "amount", "currency", "status", "balance_transaction")
        known = [tuple(str(one.get(name)) for name in names) for one in await at_stripe(room, kind)]
        found = [tuple(row[column] for column in columns) for row in rows]
        assert sorted(found) == sorted(one[: len(columns)] for one in known), kind
        assert all(float(row["amount"]) * 100 == int(row["amount_minor"]) for row in rows)
    assert [row["requested_by"] for row in await rows_of(ada, "refunds.csv")] == [
        "at Stripe",
        "Ada",
    ]
    assert await rows_of(ada, "refunds.csv?period=2026-11&currency=eur") == []
    (first,) = await rows_of(ada, "refunds.csv?period=2026-11&currency=usd")
    assert first["exported_in"] == ("refunds period=2026-11 currency=usd zone=Europe/Amsterdam")
    assert first["amount"] == "3.33"
    assert re.fullmatch(r"2026-11-22T13:\d\d:\d\d\+01:00", first["requested_at"])
    assert re.fullmatch(r"2026-11-22T12:\d\d:\d\dZ", first["requested_at_utc"])
    ((alert,),) = await room.rows("SELECT id FROM alerts WHERE kind = 'dispute_opened'")
    await ada.sends(f"/staff/alerts/{alert}", reason="=1+1, as the bank says")
    (closed,) = await rows_of(ada, "audit.csv?what=alert_closed&who=Ada&period=2027-01")
    assert closed["why"] == "'=1+1, as the bank says"
    entries = await rows_of(ada, "audit.csv?what=refund_requested")
    assert [(row["who"], row["what"]) for row in entries] == [("Ada", "refund_requested")]
    charged = room.sandbox.dashboard_request("GET", f"/v1/charges/{refunded}")
    assert entries[0]["about"] == charged["balance_transaction"]
    await rows_of(ada, "transactions.csv?id=" + str(refunded))
    texts = [
        (await ada.web.get(f"/finance/{kind}.csv")).text
        for kind in ("refunds", "disputes", "audit")
    ]
    assert str(refunded) not in "".join(texts)
    assert "transactions.csv?id=ch_left_out" in texts[2]
    numbers = [int(row["entry"]) for row in await rows_of(ada, "audit.csv")]
    assert numbers == sorted(numbers)
    assert await rows_of(ada, "audit.csv?who=Bob") == []
    for kind, query, words in (
        ("refunds", "currency=dollars", "currency: three letters"),
        ("disputes", "who=Ada", "who: disputes cannot be filtered by it"),
        ("audit", "what=stealing", "what: one of the deeds"),
        ("audit", "currency=usd", "currency: audit cannot be filtered by it"),
        ("refunds", "period=2026-13", "period: a month"),
    ):
        refused = await ada.web.get(f"/finance/{kind}.csv?{query}")
        assert refused.status_code == 422
        assert words in refused.text
    await the_commands_write_the_same(ada, tmp_path)


async def the_commands_write_the_same(ada: Colleague, tmp_path: Path) -> None:
    room = ada.room
    environ = os.environ | {
        "PAYMENTS_BASE_URL": room.settings.base_url,
        "PAYMENTS_STRIPE_API_BASE": room.settings.stripe_api_base,
        "PAYMENTS_DATABASE_URL": room.settings.database_url.get_secret_value(),
        "PAYMENTS_STRIPE_API_KEY": room.settings.stripe_api_key.get_secret_value(),
        "PAYMENTS_ACCOUNTING_ZONE": room.settings.accounting_zone,
    }
    out = tmp_path / "refunds.csv"
    asked = ("refunds", "--period", "2026-11", "--currency", "usd", "--output", str(out))
    done = await asyncio.to_thread(command_line.run_in, environ, "export", *asked)
    assert done.exit_code == 0, done.stderr
    page = await ada.web.get("/finance/refunds.csv?period=2026-11&currency=usd")
    assert out.read_bytes() == page.content
    assert out.stat().st_mode & 0o777 == 0o600
    done = await asyncio.to_thread(
        command_line.run_in, environ, "export", "audit", "--what", "x", "--output", str(out)
    )
    assert done.exit_code == 1
    assert out.read_bytes() == page.content
    for period, code in (("2026-11", 0), ("2026-13", 1)):
        wanted = ("recurring", "--period", period, "--output", str(tmp_path / "recurring.csv"))
        done = await asyncio.to_thread(command_line.run_in, environ, "export", *wanted)
        assert done.exit_code == code, done.stderr
    page = await ada.web.get("/finance/recurring.csv?period=2026-11")
    assert (tmp_path / "recurring.csv").read_bytes() == page.content


def test_each_column_is_in_the_document_with_its_meaning() -> None:
    text = DOCUMENT.read_text()
    for kind in RecordKind:
        table = "".join(f"| `{one.name}` | {one.meaning} |\n" for one in COLUMNS[kind])
        assert table in text, kind
