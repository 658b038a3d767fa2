"""Whatever a reader sends, and wherever it breaks, the log says what went wrong and never who."""

import asyncio
import contextlib
import io
import json
import logging
import os
import re
import warnings
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

import httpx
import pytest
import structlog
from litestar import get
from litestar.handlers import HTTPRouteHandler
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from stripe import InvalidRequestError

from payments.infra import logs as app_logging
from payments.staff import accounts
from payments.staff.accounts import Role
from payments.web.app import create_app
from tests.support.donor import SAME_ORIGIN_HEADERS
from tests.support.newsroom import BASE_URL, Newsroom, open_newsroom

pytestmark = pytest.mark.anyio

ADDRESS, NAME, SECRET, AMOUNT = "canary@example.org", "Zsófia Canary", "canary-token", "98765.43"
SENT = {
    "address": ADDRESS,
    "email": ADDRESS,
    "name": NAME,
    "token": SECRET,
    "amount": AMOUNT,
    "other_once": AMOUNT,
    "frequency": "canary",
    "currency": "canary",
    "intent": "canary",
    "poll": "canary",
    "year": "canary",
}
HEADERS = {
    "idempotency-key": f"{SECRET}-0123456789",
    "cookie": f"staff={SECRET}; __Host-staff={SECRET}; canary={SECRET}",
    "user-agent": "canary/1.0",
    "referer": "https://news.example.org/canary-story",
    "x-forwarded-for": "203.0.113.77",
    "authorization": f"Bearer {SECRET}",
    "stripe-signature": f"t=1,v1={SECRET}",
    "accept-language": "canary",
}
CANARY = re.compile(r"canary|zsófia|98765|203\.0\.113", re.IGNORECASE)
# Their figures are those of the moment and of chance.
OF_THE_LOG_ITSELF = re.compile(r'"(timestamp|request_id)": "[0-9a-fTZ:.-]+"')


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Put back how much is logged, which these tests change for the whole process."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture
async def newsroom(database: str) -> AsyncIterator[Newsroom]:
    async with open_newsroom(database) as room:
        yield room


def lines(capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """What was logged: JSON lines with fields of ours and nothing else, and nobody in them."""
    out, err = capfd.readouterr()
    assert CANARY.search(out) is None, out
    assert CANARY.search(OF_THE_LOG_ITSELF.sub("", err)) is None, err
    found = [json.loads(line) for line in err.splitlines()]
    for line in found:
        assert set(line) <= app_logging.ALLOWED_FIELDS, line
        assert {"event", "level", "timestamp"} <= set(line), line
    return found


# --- what comes from outside ----------------------------------------------------------------------


async def test_what_is_sent_to_any_route_is_never_logged(
    newsroom: Newsroom, capfd: pytest.CaptureFixture[str]
) -> None:
    app_logging.configure("debug")
    app = create_app(newsroom.settings)
    answers = set()
    for route in app.routes:
        address = re.sub(r"{[^}]+}", SECRET, route.path)
        for method in ("GET", "POST", "PUT"):
            for body in (
                {"json": SENT},
                {"data": SENT},
                {"content": b"\xff canary"},
                {"files": {"canary.txt": b"canary"}},
            ):
                answer = await newsroom.web.request(
                    method, address, params=SENT, headers=HEADERS, **cast("Any", body)
                )
                answers.add(answer.status_code)
    assert answers >= {200, 400, 401, 404, 405, 410, 415, 422}
    assert max(answers) < 500
    assert {line["event"] for line in lines(capfd)} == {"request_refused"}


async def test_a_refusal_leaves_a_line_that_names_nobody(
    newsroom: Newsroom, capfd: pytest.CaptureFixture[str]
) -> None:
    answers = [
        await newsroom.web.get("/finance", headers={"cookie": f"staff={SECRET}"}),
        await newsroom.web.post("/manage", data=SENT, headers={"origin": "https://evil.example"}),
        await newsroom.web.get("/donate"),
    ]
    found = [
        (line["event"], line["outcome"], line["at"], line["request_id"]) for line in lines(capfd)
    ]
    assert found == [
        ("request_refused", status, at, answer.headers["x-request-id"])
        for answer, status, at in zip(
            answers, (401, 403), ("overview", "request_link"), strict=False
        )
    ]


async def test_a_whole_journey_leaves_nobody_in_the_log(
    newsroom: Newsroom, capfd: pytest.CaptureFixture[str]
) -> None:
    app_logging.configure("debug")
    async with newsroom.ctx.sessions.begin() as session:
        now = newsroom.clock()
        token = await accounts.invite(session, NAME, role=Role.FINANCE, now=now)
    await newsroom.web.post(f"/staff/enter/{token}", headers=SAME_ORIGIN_HEADERS)
    await newsroom.web.get("/finance")
    for frequency in ("once", "monthly"):
        gift = await newsroom.gives(98765, frequency)
        await newsroom.runs_until_idle()
        await newsroom.web.get(f"/thanks/{gift.id}", headers=HEADERS)
        await newsroom.web.get("/thanks", headers=HEADERS | {"cookie": f"gift={gift.id}"})
    newsroom.sandbox.faults.add("POST", "/v1/checkout/sessions", "drop_after", remaining=3)
    assert (
        await newsroom.requests_contribution(9876543, key=HEADERS["idempotency-key"])
    ).status_code == 422
    assert (await newsroom.requests_contribution(98765)).status_code == 503
    assert token not in str(lines(capfd))


async def test_a_job_that_fails_says_which_kind_and_not_whose(
    newsroom: Newsroom, capfd: pytest.CaptureFixture[str]
) -> None:
    app_logging.configure("debug")
    gift = await newsroom.gives(98765)
    newsroom.sandbox.faults.add("GET", "/v1/checkout/sessions", "refused", remaining=1)
    await newsroom.runs_until_idle()
    found = lines(capfd)
    assert [line["event"] for line in found] == ["job_failed"]
    assert found[0]["object_type"] == "checkout.session"
    assert found[0]["error"] == "InvalidRequestError"
    assert gift.id not in str(found)
    assert str(gift.stripe_session_id) not in str(found)


# --- what breaks inside ---------------------------------------------------------------------------


@get("/boom/words")
async def words() -> None:
    raise RuntimeError(f"{NAME} <{ADDRESS}> gave {AMOUNT}")


@get("/boom/chain")
async def chain() -> None:
    try:
        raise KeyError(ADDRESS)
    except KeyError as error:
        error.add_note(SECRET)
        raise ValueError(NAME) from error


@get("/boom/group")
async def group() -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_fails())
        tasks.create_task(_fails())


async def _fails() -> None:
    raise LookupError(SECRET)


@get("/boom/bytes")
async def bytes_() -> str:
    return (ADDRESS.encode() + b"\xff").decode()


@pytest.mark.parametrize("what", [words, chain, group, bytes_])
async def test_what_an_error_says_is_not_what_the_log_says(
    newsroom: Newsroom, capfd: pytest.CaptureFixture[str], what: HTTPRouteHandler
) -> None:
    app = create_app(newsroom.settings)
    app.register(what)
    transport = httpx.ASGITransport(app=cast("Any", app), raise_app_exceptions=False)
    async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url=BASE_URL) as web:
        answer = await web.get(next(iter(what.paths)), params=SENT, headers=HEADERS)
    assert CANARY.search(answer.text) is None
    found = lines(capfd)
    assert answer.status_code == 500
    ((request_id, event),) = [(line["request_id"], line["event"]) for line in found]
    assert event == "unexpected_error"
    assert request_id == answer.headers["x-request-id"]
    assert request_id in answer.text
    assert found[0]["error"].endswith(("Error", "Group"))
    assert re.fullmatch(r"\w+\.[\w<>]+:\d+", found[0]["at"])


async def test_what_the_database_refuses_is_not_quoted(
    newsroom: Newsroom, capfd: pytest.CaptureFixture[str]
) -> None:
    app_logging.configure("debug")
    insert = text(
        "INSERT INTO staff (id, name, role, created_at) VALUES (:id, :name, 'finance', now())"
    )
    async with newsroom.ctx.sessions.begin() as session:
        await session.execute(insert, {"id": SECRET, "name": NAME})
    with pytest.raises(IntegrityError, match=SECRET) as refusal:
        async with newsroom.ctx.sessions.begin() as session:
            await session.execute(insert, {"id": SECRET, "name": NAME})
    structlog.get_logger("payments.test").error("refused", exc_info=refusal.value)
    (line,) = lines(capfd)
    assert line["error"] == "IntegrityError"


async def test_what_stripe_says_is_not_quoted(
    newsroom: Newsroom, capfd: pytest.CaptureFixture[str]
) -> None:
    app_logging.configure("debug")
    with pytest.raises(InvalidRequestError, match=SECRET) as refusal:
        await newsroom.stripe_owner.v1.charges.retrieve_async(SECRET)
    structlog.get_logger("payments.test").error("refused", exc_info=refusal.value)
    async with newsroom.ctx.sessions.begin() as session:
        await session.execute(
            text(
                "INSERT INTO procrastinate_jobs (queue_name, task_name, lock, queueing_lock, args)"
                " VALUES ('sync', 'sync', 'l', 'q', jsonb_build_object('object_type', 'charge',"
                " 'object_id', CAST(:id AS text), 'attempt', 1))"
            ),
            {"id": SECRET},
        )
    await newsroom.runs_due_jobs()
    assert [line["event"] for line in lines(capfd)] == ["refused", "stripe_object_missing"]


def test_a_line_is_written_though_the_stderr_of_the_start_is_closed(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with contextlib.redirect_stderr(io.StringIO()) as first:
        app_logging.configure("info")
    first.close()
    structlog.get_logger("payments.test").info("gift_started")
    logging.getLogger("mail.log").warning("a library's words")
    assert [line["event"] for line in lines(capfd)] == ["gift_started", "library_message"]


def test_a_line_that_cannot_be_written_fails_nobody(capfd: pytest.CaptureFixture[str]) -> None:
    app_logging.configure("info")
    reading, writing = os.pipe()
    os.close(reading)
    full = os.open("/dev/full", os.O_WRONLY)
    for end in (os.fdopen(full, "w"), os.fdopen(writing, "w")):
        with contextlib.redirect_stderr(end):
            structlog.get_logger("payments.test").error("gift_started", exc_info=OSError())
            logging.getLogger("mail.log").warning("a library's words")
        with contextlib.suppress(OSError):  # what is left in its buffer
            end.close()
    structlog.get_logger("payments.test").info("gift_started")
    assert [line["event"] for line in lines(capfd)] == ["gift_started"]


# --- by construction ------------------------------------------------------------------------------


def test_a_field_that_is_not_ours_is_dropped(capfd: pytest.CaptureFixture[str]) -> None:
    app_logging.configure("debug")
    log = structlog.get_logger("payments.test").bind(address=ADDRESS)
    log.info("gift_started", count=3, outcome="stored", name=NAME, amount=AMOUNT, ip="203.0.113.77")
    (line,) = lines(capfd)
    assert {name: line[name] for name in set(line) - {"timestamp"}} == {
        "event": "gift_started",
        "level": "info",
        "count": 3,
        "outcome": "stored",
    }


@pytest.mark.parametrize(
    "message",
    [
        f"{NAME} gave",
        ADDRESS,
        f"gift of {AMOUNT}",
        f"see https://example.org/{SECRET}?x",
        "",
        "x" * 200,
    ],
)
def test_free_text_has_no_place_even_in_a_field_of_ours(
    capfd: pytest.CaptureFixture[str], message: str
) -> None:
    app_logging.configure("debug")
    log = structlog.get_logger("payments.test")
    fields = dict.fromkeys(("outcome", "object_type", "count"), message)
    log.warning(message, request_id={"canary": message}, **fields)
    (line,) = lines(capfd)
    assert set(line) == {"event", "level", "timestamp"}
    assert line["event"] == "unnamed"


def test_the_words_of_other_libraries_are_not_ours_to_repeat(
    capfd: pytest.CaptureFixture[str],
) -> None:
    app_logging.configure("debug")
    for name in ("aiohttp.access", "stripe", "sqlalchemy.engine", "asyncio", "procrastinate", ""):
        library = logging.getLogger(name)
        library.debug("to %s", ADDRESS)
        library.info("to %s", ADDRESS)
        library.warning("to %s", ADDRESS, extra={"request_id": SECRET})
        try:
            raise ValueError(ADDRESS)
        except ValueError:
            library.exception("because of %s", NAME, stack_info=True)
    found = lines(capfd)
    assert {line["event"] for line in found} == {"library_message"}
    assert {line["level"] for line in found} == {"warning", "error"}
    assert {line.get("error") for line in found} == {None, "ValueError"}
    assert "procrastinate" not in {line["logger"] for line in found}


def test_a_warning_of_pythons_is_not_printed_as_it_stands(
    capfd: pytest.CaptureFixture[str],
) -> None:
    app_logging.configure("debug")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn(f"about {ADDRESS}", UserWarning, stacklevel=1)
        logging.captureWarnings(capture=False)
    (line,) = lines(capfd)
    assert line["logger"] == "py.warnings"


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_an_operator_chooses_how_much_is_said(
    capfd: pytest.CaptureFixture[str], level: str
) -> None:
    app_logging.configure(level)
    log = structlog.get_logger("payments.test")
    for name in ("debug", "info", "warning", "error"):
        getattr(log, name)("something_happened")
    levels = ["debug", "info", "warning", "error"]
    assert [line["level"] for line in lines(capfd)] == levels[levels.index(level) :]
