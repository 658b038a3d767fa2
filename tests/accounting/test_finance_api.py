"""Programs read what the pages print, each list whole while it grows, as its description says."""

import asyncio
import json
import os
import re
import shutil
import sys
from asyncio.subprocess import PIPE
from collections import defaultdict
from collections.abc import AsyncIterator
from decimal import Decimal
from itertools import accumulate
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from tests.support.colleague import sees, signs_in
from tests.support.newsroom import Newsroom
from tests.support.page import Page
from tests.support.past import has_given
from tests.support.ports import reserve_port
from tests.support.printed_figures import numbers_of, printed_amounts, printed_counts
from tests.support.programs import Program, has_token, operations_by_page
from tests.support.serving import serve_newsroom
from tests.support.snapshot import Snapshot, restore_newsroom

pytestmark = pytest.mark.anyio


@pytest.fixture
async def room(cluster: str, two_months: Snapshot) -> AsyncIterator[Newsroom]:
    async with restore_newsroom(cluster, two_months) as room:
        yield room


async def test_the_operations_of_each_page_answer_what_it_prints(
    room: Newsroom,
) -> None:
    program, cookie = await has_token(room), await signs_in(room)
    document = await program.reads("openapi.json")
    ids = await ids_of(room)
    checked = 0
    for page, its_operations in operations_by_page().items():
        if not its_operations or re.search(r"\.\w+$|/(file|journal|pack)$|/packs/", page):
            continue
        await room.rows("DELETE FROM rate_limit_buckets RETURNING key")
        for query in ("", "?currency=usd"):
            path = page.removeprefix("GET ").format_map(ids)
            answer = await sees(room, cookie, f"{path}{query}")
            if answer.status_code == 422:
                continue
            assert answer.status_code == 200, path
            shown = Page(answer.text)
            answers = []
            for operation in its_operations:
                params = {"currency": "usd"} if query else {}
                if "currency" not in parameters_of(document, operation):
                    params = {}
                found = await program.reads(operation.format_map(ids), **params)
                validate(document, operation, found)
                answers.append(found)
            numbers = numbers_of(answers)
            for currency, sums in sums_printed_by(page, answers).items():
                numbers[currency] |= sums
            amounts = printed_amounts(shown)
            missing = {one for one in amounts if one[1] and one[1] not in numbers[one[0]]}
            assert missing == set(), (page, query)
            counts = printed_counts(shown) - set().union({0}, *numbers.values())
            assert counts == set(), (page, query)
            checked += len(amounts)
    assert checked > 100


def sums_printed_by(page: str, answers: list[Any]) -> dict[str, set[int]]:
    """What a page adds up besides: for its drawings, and what was returned in either way."""
    found: dict[str, set[int]] = defaultdict(set)
    answer = answers[0]
    if page == "GET /finance/sources":
        return column_sums(answer["campaigns"])
    if page not in ("GET /finance", "GET /finance/months"):
        return found
    lines = answer["by_month" if page == "GET /finance" else "lines"]
    nets: dict[str, dict[str, int]] = defaultdict(dict)
    for line in lines:
        of_currency = nets[line["currency"]]
        of_currency[line["month"]] = of_currency.get(line["month"], 0) + line["net"]
    for line in [*lines, *answer.get("other_income", []), *answer["totals"]]:
        found[line["currency"]].add(abs(line["refunds"] + line["disputes"]))
    for currency, by_month in nets.items():
        found[currency] |= {abs(net) for net in by_month.values()}
        if page == "GET /finance":
            found[currency] |= since_january(by_month)
    for currency, year in {(line["currency"], line["month"][:4]) for line in lines}:
        of_year = [
            line | {"returned": line["refunds"] + line["disputes"]}
            for line in lines
            if (line["currency"], line["month"][:4]) == (currency, year)
        ]
        found[currency] |= column_sums(of_year)[currency]
    return found


def column_sums(lines: list[dict[str, Any]]) -> dict[str, set[int]]:
    """The sum of each column of numbers, by currency."""
    sums: dict[tuple[str, str], int] = defaultdict(int)
    for line in lines:
        for name, value in line.items():
            if type(value) is int:
                sums[line["currency"], name] += value
    currencies = {currency for currency, _ in sums}
    return {
        currency: {abs(value) for (of, _), value in sums.items() if of == currency}
        for currency in currencies
    }


def since_january(nets: dict[str, int]) -> set[int]:
    """Net since January of each month of each year, and by how much two years differ."""
    by_year = {
        year: list(accumulate(nets.get(f"{year}-{month:02}", 0) for month in range(1, 13)))
        for year in {int(month[:4]) + more for month in nets for more in (-1, 0)}
    }
    differences = {
        abs(now - then)
        for year, sums in by_year.items()
        for now, then in zip(sums, by_year.get(year - 1, [0] * 12), strict=True)
    }
    return differences | {abs(net) for sums in by_year.values() for net in sums}


async def ids_of(room: Newsroom) -> dict[str, str]:
    ((gift,),) = await room.rows("SELECT contribution_id FROM subscriptions LIMIT 1")
    ((payout,),) = await room.rows("SELECT stripe_payout_id FROM payouts LIMIT 1")
    month = "2026-12"
    return {
        "contribution_id": str(gift), "payout_id": str(payout), "month": month, "of_month": month,
    }  # fmt: skip


def parameters_of(document: dict[str, Any], operation: str) -> list[str]:
    described = document["paths"][f"/api/finance/{operation}"]["get"]
    return [one["name"] for one in described.get("parameters", [])]


def validate(document: dict[str, Any], operation: str, answer: object) -> None:
    """Fails for an answer that is not as its description says, by somebody else's validator."""
    described = document["paths"][f"/api/finance/{operation}"]["get"]["responses"]["200"]
    schema = described["content"]["application/json"]["schema"]
    whole = {**schema, "components": document["components"]}
    jsonschema_rs.validator_for(whole).validate(answer)


async def test_a_list_is_read_whole_while_it_grows_and_a_cursor_is_of_one_list(
    room: Newsroom,
) -> None:
    program = await has_token(room)
    lists = {"transactions": {}, "payouts": {}, "audit": {}, "transactions ": {"type_": "charge"}}
    for name, chosen in lists.items():
        path = name.strip()
        whole = (await program.reads(path, limit=500, **chosen))["items"]
        first = await program.reads(path, limit=2, **chosen)
        items, cursor = first["items"], first["next_cursor"]
        if path == "transactions" and not chosen:  # what arrives now is not among what is read
            await has_given(room, 4321, "once", "usd")
            await room.runs_until_idle()
            await room.runs_sweeps()
            assert (await program.reads(path, limit=1))["items"] != whole[:1]
        while cursor:
            page = await program.reads(path, limit=3, cursor=cursor, **chosen)
            items, cursor = items + page["items"], page["next_cursor"]
        assert items == whole, name
        assert len(whole) > 2, name

    cursor = (await program.reads("transactions", limit=1))["next_cursor"]
    for change in (cursor[:-1], cursor + "x", f"{cursor[:9]}x{cursor[10:]}", "1.txn_1"):
        await is_refused(program, "transactions", "cursor", cursor=change)
    await is_refused(program, "transactions", "cursor", cursor=cursor, currency="usd")
    await is_refused(program, "payouts", "cursor", cursor=cursor)
    for limit in ("0", "501", "-1", "1.5", "x"):
        problem = await is_refused(program, "transactions", "limit", limit=limit)
        assert "1 to 500" in problem["detail"]


async def is_refused(program: Program, path: str, field: str, **params: object) -> dict[str, Any]:
    answer = await program.asks(path, **params)
    assert answer.status_code == 422, (path, params)
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert [one["pointer"] for one in problem["errors"]] == [f"/{field}"], params
    return problem


async def test_a_filter_is_refused_as_on_the_page_and_an_unknown_one_too(room: Newsroom) -> None:
    program, cookie = await has_token(room), await signs_in(room)
    for page, path, query in (
        ("transactions", "transactions", "period=2026-13"),
        ("transactions", "transactions", "period=2026-10&from=2026-10-01"),
        ("transactions", "transactions/totals", "from=2026-10-02&to=2026-10-01"),
        ("transactions", "transactions", "type=gift"),
        ("transactions", "transactions", "account=income:once&frequency=annual"),
        ("transactions", "transactions", "id=nonsense"),
        ("months", "months", "frequency=daily"),
        ("months", "months", "period=2099"),
        ("why", "why", "against=never"),
        ("payouts", "payouts", "currency=dollars"),
        ("audit", "audit", "what=nothing"),
        ("report", "report", "from=2026-10-01"),
        ("periods/2099-01", "periods/2099-01", ""),
    ):
        refused = await program.asks(f"{path}?{query}")
        shown = await sees(room, cookie, f"/finance/{page}?{query}")
        assert (refused.status_code, shown.status_code) == (422, 422), (path, query)
        assert refused.json()["detail"] in Page(shown.text).text, (path, query)
    for query, field in (
        ("curency=usd", "curency"),
        ("currency=usd&currency=eur", "currency"),
        ("currency=", "currency"),
        ("before=1.txn_1", "before"),
    ):
        problem = await is_refused(program, f"transactions?{query}", field)
        assert "@" not in problem["detail"]
    for path in ("contributions/x", f"contributions/{'0' * 32}", "payouts/po_none", "nothing"):
        answer = await program.asks(path)
        assert (answer.status_code, answer.json()["status"]) == (404, 404), path
    taken = await program.asks("journal", format="csv", period="2026-11")
    assert "journal-csv_2026-11" in taken.headers["content-disposition"]
    assert taken.headers["content-type"].startswith("text/plain")
    assert taken.text.count("2026-11-") > 3
    await is_refused(program, "journal", "format", period="2026-11")
    assert (await program.asks("periods/2026-11/pack")).status_code == 404  # it is not closed
    exported = await room.rows(
        "SELECT name, object_id FROM audit_entries WHERE action = 'data_exported'"
    )
    token = f"Spreadsheet ({program.token[:12]})"
    asked = "/api/finance/journal?format=csv&period=2026-11"
    assert exported == [("Ada", f"{asked} by {token}")]


# --- the examples of docs/api.md ------------------------------------------------------------------

DOCUMENT = Path(__file__).parents[2] / "docs" / "api.md"


def example(language: str, name: str = "") -> str:
    """A piece of code of the document, as it stands there."""
    pieces = re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT.read_text(), re.M | re.S)
    (found,) = (piece for piece in pieces if piece.startswith(f"# {name}" if name else ""))
    return str(found)


async def runs(*command: str, **environment: str) -> str:
    """Run a program that has nothing but its environment. Returns what it prints."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=PIPE, stderr=PIPE, env={"PATH": os.environ["PATH"], **environment}
    )
    said, failed = await process.communicate()
    assert process.returncode == 0, failed.decode()
    return said.decode()


async def test_the_examples_of_the_document_do_what_it_says(room: Newsroom) -> None:
    program, posted = await has_token(room), list[bytes]()

    async def takes_message(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        (length,) = re.findall(rb"(?i)content-length: (\d+)", head)
        posted.append(await reader.readexactly(int(length)))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
        await writer.drain()
        writer.close()

    chat = await asyncio.start_server(takes_message, "127.0.0.1", 0)
    with reserve_port() as port:
        async with serve_newsroom(room, port), chat:
            hook = f"http://127.0.0.1:{chat.sockets[0].getsockname()[1]}/hooks/x"
            given = {"SITE": f"http://127.0.0.1:{port}", "TOKEN": program.token, "HOOK": hook}
            by_hand = None
            if shutil.which("curl"):  # not on every machine
                by_hand = json.loads(await runs("sh", "-c", example("sh"), **given))
            python = (sys.executable, "-I", "-c")  # without anything that is installed
            code = example("python", "payments_of.py")
            printed = await runs(*python, code, "2026-11", **given)
            await runs(*python, example("python", "post_month.py"), "2026-11", **given)
    months = await program.reads("months", period="2026", currency="usd")
    assert by_hand in (None, months)
    charges = (await program.reads("transactions", period="2026-11", type="charge"))["items"]
    assert [line.split("\t")[1:] for line in printed.splitlines()] == [
        [
            one["id"],
            one["currency"],
            *(str(one[name]) for name in ("amount", "fee", "balance_change")),
        ]
        for one in charges
    ]
    (message,) = posted
    text = json.loads(message)["text"]
    assert text.startswith("Contributions of 2026-11, provisional\n")
    for one in (await program.reads("report", period="2026-11"))["report"]["currencies"]:
        net = Decimal(one["total"]["net"]) / 100
        assert f", net {net:,.2f} {one['currency'].upper()};" in text
    assert not re.search(r"@|_|http", text), "figures only"
