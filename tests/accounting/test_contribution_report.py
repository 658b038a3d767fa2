"""The contribution report: the same figures on its page, in its PDF and from the command.

They are recomputed here from what the stand-in for Stripe says; somebody else's library reads the
PDF.
"""

import asyncio
import io
import json
import os
from collections import Counter
from collections.abc import AsyncIterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pypdf import PdfReader

from payments.accounting.reports.stripe_balance import BALANCE_MOVEMENTS
from payments.staff.accounts import Role
from payments.web.finance.period_close import BALANCE_LABELS
from tests.support import command_line
from tests.support.colleague import Colleague, open_colleague_browser
from tests.support.newsroom import Newsroom
from tests.support.snapshot import Snapshot, restore_newsroom

pytestmark = pytest.mark.anyio
ZONE = ZoneInfo("Europe/Amsterdam")


@pytest.fixture
async def ada(cluster: str, two_months: Snapshot) -> AsyncIterator[Colleague]:
    """A colleague of finance, in a newsroom with two months of gifts."""
    async with (
        restore_newsroom(cluster, two_months) as room,
        open_colleague_browser(room, "Ada", Role.FINANCE) as ada,
    ):
        await ada.opens_link()
        yield ada
        assert await room.failed_integrity_checks() == []


def text_of(pdf: bytes) -> str:
    reader = PdfReader(io.BytesIO(pdf))
    return " ".join(" ".join(page.extract_text().split()) for page in reader.pages)


def recomputed(room: Newsroom, currency: str, since: date, until: date) -> dict[str, int]:
    """Add up Stripe's balance transactions of a currency, without anything of the product."""
    sums: Counter[str] = Counter()
    listed = room.sandbox.dashboard_request("GET", "/v1/balance_transactions", {"limit": "100"})
    assert not listed["has_more"]
    for one in listed["data"]:
        day = datetime.fromtimestamp(one["created"], ZONE).date()
        if one["currency"] != currency or day >= until:
            continue
        sums["closing"] += one["net"]
        if day < since:
            sums["opening"] += one["net"]
            continue
        kind = {"charge": "gross", "payment": "gross", "refund": "refunds"}.get(one["type"])
        if kind:
            sums[kind] += abs(one["amount"])
            sums["payments"] += kind == "gross"
        sums["fees"] += one["fee"] + (-one["amount"] if one["type"] == "stripe_fee" else 0)
        sums["payouts"] += one["type"] == "payout"
        sums["payouts_amount"] -= one["amount"] * (one["type"] == "payout")
    return dict(sums)


async def says(room: Newsroom, *words: str) -> bytes:
    """What `payments report contributions` writes."""
    environ = os.environ | {
        "PAYMENTS_BASE_URL": room.settings.base_url,
        "PAYMENTS_STRIPE_API_BASE": room.settings.stripe_api_base,
        "PAYMENTS_DATABASE_URL": room.settings.database_url.get_secret_value(),
        "PAYMENTS_STRIPE_API_KEY": room.settings.stripe_api_key.get_secret_value(),
        "PAYMENTS_PUBLICATION_NAME": room.settings.publication_name,
        "PAYMENTS_ACCOUNTING_ZONE": room.settings.accounting_zone,
    }
    asked = ("contributions", *words)
    done = await asyncio.to_thread(command_line.run_in, environ, "report", *asked)
    assert done.exit_code == 0, done.stderr
    return done.stdout


async def has_the_figures_of_stripe(room: Newsroom) -> None:
    for period, since, until in (
        ("2026-11", date(2026, 11, 1), date(2026, 12, 1)),
        ("2026-12", date(2026, 12, 1), date(2027, 1, 1)),
    ):
        plain = json.loads(await says(room, "--period", period, "--format", "json"))
        assert plain["is_provisional"]
        assert {one["currency"] for one in plain["currencies"]} == {"usd", "eur", "gbp"}
        for one in plain["currencies"]:
            known = recomputed(room, one["currency"], since, until)
            total, balance, counts = one["total"], one["stripe_balance"], one["counts"]
            for name in ("gross", "fees", "refunds", "payments"):
                assert total[name] == known.get(name, 0), (period, name)
            assert (balance["opening"], balance["closing"]) == (
                known.get("opening", 0),
                known.get("closing", 0),
            )
            moved = sum(balance[name] for name in BALANCE_MOVEMENTS)
            assert balance["opening"] + moved == balance["closing"]
            assert counts["payouts"] == known.get("payouts", 0)
            assert counts["payouts_amount"] == known.get("payouts_amount", 0)
            lines = one["by_frequency"]
            assert sum(line["net"] for line in lines) == total["net"]
            assert total["net"] == total["gross"] - sum(
                total[name] for name in ("fees", "refunds", "disputes")
            )
    assert sum(one["counts"]["payouts"] for one in plain["currencies"]) > 0  # not all zeros


def is_accessible(reader: PdfReader) -> None:
    assert reader.metadata is not None
    assert reader.metadata.title == "Contribution report, November 2026"
    catalog: dict[str, Any] = dict(reader.root_object)
    assert catalog["/Lang"] == "en"
    assert catalog["/MarkInfo"]["/Marked"]
    assert "/StructTreeRoot" in catalog
    assert catalog["/ViewerPreferences"]["/DisplayDocTitle"]
    outline = [str(item.title) for item in reader.outline if not isinstance(item, list)]
    assert "USD: contributions by frequency" in outline


async def test_page_pdf_and_command_say_what_stripe_moved_and_the_same_bytes_each_time(
    ada: Colleague, tmp_path: Path
) -> None:
    room = ada.room
    await has_the_figures_of_stripe(room)
    page = await ada.opens("/finance/report?period=2026-11")
    assert "Provisional" in page.text
    answer = await ada.web.get("/finance/report.pdf?period=2026-11")
    assert answer.headers["content-type"] == "application/pdf"
    assert "payments-report_2026-11_Europe-Amsterdam.pdf" in answer.headers["content-disposition"]
    is_accessible(PdfReader(io.BytesIO(answer.content)))
    words = text_of(answer.content)
    for cells in page.cells:
        for cell in cells:
            assert " ".join(cell.split()) in words, cell
    for says_ in ("Europe/Amsterdam", "Provisional: not every month", "1 November 2026"):
        assert says_ in words
    await room.advances_time(timedelta(minutes=2))
    again = await ada.web.get("/finance/report.pdf?from=2026-11-01&to=2026-12-01")
    assert again.content == answer.content
    file = tmp_path / "report.pdf"
    await says(room, "--period", "2026-11", "--output", str(file))
    assert file.read_bytes() == answer.content
    assert file.stat().st_mode & 0o777 == 0o600
    # Closed, it says by whom, and stays that way; the year after, it is what is compared with.
    assert (await ada.sends("/finance/periods/2026-11/close")).status_code == 303
    await room.runs_until_idle()
    final = await ada.web.get("/finance/report.pdf?period=2026-11")
    assert final.content != answer.content
    assert "Final: every month of it is closed" in text_of(final.content)
    assert "by Ada" in text_of(final.content)
    await ada.opens("/finance/report?period=2026")
    assert "Provisional" in (await ada.opens("/finance/report?period=2026")).text
    assert [action for action, *_ in await ada.audit_actions()].count("data_exported") == 3
    for query, says_ in (
        ("period=2026-13", "period: a month"),
        ("from=2026-11-01", "a beginning and an end"),
        ("period=2028", "has not begun"),
    ):
        for address in ("/finance/report", "/finance/report.pdf"):
            refused = await ada.web.get(f"{address}?{query}")
            assert refused.status_code == 422
            assert says_ in refused.text


def test_every_movement_of_the_balance_has_a_name_on_pages() -> None:
    assert tuple(BALANCE_LABELS) == BALANCE_MOVEMENTS
