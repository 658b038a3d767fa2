"""The contribution report: the same figures on its page, in its PDF and from the command.

They are recomputed here from what the stand-in for Stripe says; somebody else's library reads the
PDF.
"""

import asyncio
import contextlib
import io
import json
import os
import re
from collections import Counter
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pypdf import PdfReader

from payments.accounting import report_mail
from payments.accounting.reports.stripe_balance import BALANCE_MOVEMENTS
from payments.web.finance.period_close import BALANCE_LABELS
from tests.support import command_line
from tests.support.colleague import Colleague
from tests.support.mail import execute
from tests.support.newsroom import Mail, Newsroom

pytestmark = pytest.mark.anyio
ZONE = ZoneInfo("Europe/Amsterdam")


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


async def test_who_asked_for_it_is_mailed_the_figures_once_a_month_however_workers_run(
    ada: Colleague,
) -> None:
    room = ada.room
    bad = await ada.sends("/finance/report/mail", address="no address")
    assert bad.status_code == 422
    assert (await ada.sends("/finance/report/mail", address="ada@example.org")).status_code == 303
    assert "ada@example.org" in (await ada.opens("/finance/report")).text
    ((sealed,),) = await room.rows("SELECT address_sealed FROM report_recipients")
    assert isinstance(sealed, bytes)
    assert b"ada@" not in sealed

    def mailed() -> list[Mail]:
        return [mail for mail in room.mails() if mail.to == ["ada@example.org"]]

    await report_mail.send_due(room.ctx)  # what was over when she asked is not sent
    first_day = datetime(2027, 2, 1, 12, tzinfo=ZONE)
    await room.advances_time(first_day - room.clock())
    await report_mail.send_due(room.ctx)
    assert mailed() == []
    room.mail_server.refusal = "451 4.3.0 not now"
    await room.advances_time(timedelta(days=2))
    with contextlib.suppress(Exception):
        await report_mail.send_due(room.ctx)
    assert mailed() == []
    room.mail_server.refusal = ""
    await room.advances_time(timedelta(days=9))  # the worker was dead
    await asyncio.gather(report_mail.send_due(room.ctx), report_mail.send_due(room.ctx))
    await report_mail.send_due(room.ctx)
    (mail,) = mailed()
    text = mail.part()
    assert mail.subject == "Monthly report, January 2027: provisional"
    known = recomputed(room, "eur", date(2027, 1, 1), date(2027, 2, 1))
    gross, closing = (f"{known.get(name, 0) / 100:.2f}" for name in ("gross", "closing"))
    assert f"Gross: €{gross}" in text[text.index("EUR: payments") :]
    assert f"Balance at Stripe, closing: €{closing}" in text
    assert f"{room.settings.base_url}/finance/report?period=2027-01" in text
    assert not re.search("reader@|A Reader|cus_|ch_|txn_", text)
    room.mail_server.rejections["ada@example.org"] = "550 5.1.1 no such mailbox"
    await room.advances_time(timedelta(days=31))
    await report_mail.send_due(room.ctx)
    assert await room.count("report_recipients") == 0  # the mailbox is gone, and so is the row
    del room.mail_server.rejections["ada@example.org"]
    await ada.opens_link(await ada.sign_in_link())
    for address in ("ada@example.org", ""):
        assert (await ada.sends("/finance/report/mail", address=address)).status_code == 303
    assert await room.count("report_recipients") == 0
    await ada.sends("/finance/report/mail", address="ada@example.org")
    await execute(room, "UPDATE staff SET role = 'support'")
    await report_mail.send_due(room.ctx)
    assert await room.count("report_recipients") == 0
    assert len(mailed()) == 1
    actions = [str(action) for action, *_ in await ada.audit_actions() if "report" in str(action)]
    assert actions == [
        "report_mail_asked",
        "report_mailed",
        "report_mail_stopped",
        "report_mail_asked",
        "report_mail_ended",
        "report_mail_asked",
    ]


def test_every_movement_of_the_balance_has_a_name_on_pages() -> None:
    assert tuple(BALANCE_LABELS) == BALANCE_MOVEMENTS
