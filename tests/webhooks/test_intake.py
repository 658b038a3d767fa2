"""What comes in at POST /webhooks/stripe: stored and enqueued if it is Stripe's, refused if it is
not, and never answered 200 before it is stored.

The application is called as ASGI, so that the bytes of a header arrive as they are: no client
tidies them up on the way.
"""

import asyncio
import hashlib
import hmac
import json
import random
import typing
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import count

import psycopg
import pytest
import stripe
from prometheus_client import REGISTRY
from sqlalchemy import text
from sqlalchemy.engine import make_url

from payments.infra.context import Context
from payments.infra.metrics import WEBHOOKS
from payments.sandbox import webhook_deliveries
from payments.web.app import create_app
from tests.support.database_owner import driver_url
from tests.support.newsroom import REAL_TIMEOUT_SECONDS, ManualClock, settings_for
from tests.support.secret_values import secret_named
from webhooks import intake
from webhooks.registry import SYNC_HANDLERS

pytestmark = pytest.mark.anyio

SECRET = "whsec_" + secret_named("new")[:32]
OLDER = "whsec_" + secret_named("old")[:32]
NOWHERE = "http://127.0.0.1:9"  # nothing here asks Stripe
_numbers = count(1)


@dataclass
class Door:
    """The address that Stripe posts to, and the application behind it."""

    app: typing.Any  # an ASGI application: litestar's own type for its scope is stricter than ASGI
    ctx: Context
    clock: ManualClock

    async def hears(self, body: bytes, *signatures: bytes, length: int | None = -1) -> int:
        """A delivery with these Stripe-Signature headers. Returns the status of the response."""
        pieces = [body[:100_000], body[100_000:]]
        messages: list[dict[str, typing.Any]] = []

        async def receive() -> dict[str, object]:
            piece = pieces.pop(0) if pieces else b""
            return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

        async def send(message: dict[str, typing.Any]) -> None:
            messages.append(message)

        headers = [(b"host", b"127.0.0.1:8000"), (b"content-type", b"application/json")]
        if length is not None:
            headers.append((b"content-length", b"%d" % (len(body) if length == -1 else length)))
        headers += [(b"stripe-signature", signature) for signature in signatures]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": "/webhooks/stripe",
            "raw_path": b"/webhooks/stripe",
            "query_string": b"",
            "root_path": "",
            "headers": headers,
            "client": ("203.0.113.5", 40_000),
            "server": ("127.0.0.1", 8000),
        }
        await self.app(scope, receive, send)
        return int(messages[0]["status"])

    def sign(self, body: bytes, *, secret: str = SECRET, ago: int = 0) -> bytes:
        """The header Stripe sends, as the sandbox signs and not as we verify."""
        timestamp = int(self.clock().timestamp()) - ago
        return webhook_deliveries.signature(body, secret, timestamp).encode()

    async def hears_signed(self, body: bytes) -> int:
        return await self.hears(body, self.sign(body))

    async def rows(self, query: str) -> list[tuple[object, ...]]:
        async with self.ctx.sessions() as session:
            return [tuple(row) for row in await session.execute(text(query))]

    async def stored(self) -> int:
        """How many events are stored. Without an event there is no job."""
        [(events, jobs)] = await self.rows(
            "SELECT (SELECT count(*) FROM stripe_events), (SELECT count(*) FROM procrastinate_jobs)"
        )
        assert isinstance(events, int)
        assert events or not jobs
        return events


@asynccontextmanager
async def opened(database: str, **more: object) -> AsyncIterator[Door]:
    clock = ManualClock()
    settings = settings_for(database, NOWHERE, **({"stripe_webhook_secrets": SECRET} | more))
    app = create_app(settings, now=clock)
    async with app.lifespan():
        yield Door(app, app.state.ctx, clock)


@pytest.fixture
async def door(database: str) -> AsyncIterator[Door]:
    async with opened(database) as one:
        yield one


def event(object_type: str = "charge", object_id: str | None = "ch_1", **more: object) -> bytes:
    """An event as Stripe sends it, with far more in it than is read."""
    thing: dict[str, object] = {"object": object_type, "receipt_email": "reader@example.org"}
    if object_id is not None:
        thing["id"] = object_id
    fields: dict[str, object] = {
        "id": f"evt_{next(_numbers):08}",
        "object": "event",
        "api_version": "2026-10-28.endive",
        "created": 1_795_348_800,
        "data": {"object": thing},
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
        "type": f"{object_type}.updated",
    }
    return json.dumps(fields | more).encode()


def outcome_count(outcome: str) -> float:
    """How many webhooks ended so, by the metric."""
    return REGISTRY.get_sample_value("payments_webhooks_total", {"outcome": outcome}) or 0


# --- what is Stripe's -----------------------------------------------------------------------------


async def test_an_event_is_stored_by_its_id_and_enqueues_a_sync_of_its_object(door: Door) -> None:
    body = event("checkout.session", "cs_test_1", id="evt_1", type="checkout.session.completed")
    before = outcome_count("enqueued")
    assert await door.hears_signed(body) == 200
    assert await door.rows(
        "SELECT id, type, object_type, object_id, api_version, extract(epoch FROM created)::bigint"
        "  FROM stripe_events"
    ) == [
        (
            "evt_1",
            "checkout.session.completed",
            "checkout.session",
            None,  # it would lead to a person
            "2026-10-28.endive",
            1_795_348_800,
        )
    ]
    assert await door.rows("SELECT lock, queueing_lock, args FROM procrastinate_jobs") == [
        (
            "checkout.session:cs_test_1",
            "checkout.session:cs_test_1",
            {"object_type": "checkout.session", "object_id": "cs_test_1", "attempt": 1},
        )
    ]
    assert outcome_count("enqueued") == before + 1


async def test_nothing_personal_of_an_event_is_stored(door: Door) -> None:
    assert await door.hears_signed(event()) == 200
    stored = await door.rows("SELECT e::text, j::text FROM stripe_events e, procrastinate_jobs j")
    assert len(stored) == 1
    assert "reader@example.org" not in str(stored)


@pytest.mark.parametrize("ago", [300, 299, 0, -299, -300])
async def test_a_signature_of_the_last_or_next_five_minutes_is_good(door: Door, ago: int) -> None:
    body = event()
    assert await door.hears(body, door.sign(body, ago=ago)) == 200
    assert await door.stored() == 1


@pytest.mark.parametrize("ago", [301, 3600, 30 * 86400, -301, -3600, -30 * 86400])
async def test_an_older_or_later_signature_is_refused(door: Door, ago: int) -> None:
    body = event()
    assert await door.hears(body, door.sign(body, ago=ago)) == 400
    assert await door.stored() == 0


async def test_a_header_may_hold_other_schemes_and_up_to_four_signatures(door: Door) -> None:
    wrong = b"v1=" + b"0" * 64
    for shape in (b"%(v1)b,%(t)b", b"%(t)b,v0=0,%(v1)b", b"%(t)b,%(no)b,%(no)b,%(no)b,%(v1)b",
                  b"%(t)b,%(v1)b,%(no)b,v2=something-new"):  # fmt: skip
        body = event()
        t, v1 = door.sign(body).split(b",")
        header = shape % {b"t": t, b"v1": v1, b"no": wrong}
        assert await door.hears(body, header) == 200, header
    assert await door.stored() == 4


async def test_both_secrets_are_good_while_one_is_rolled_and_the_removed_one_is_not(
    database: str,
) -> None:
    signed_by: list[tuple[str, ...]] = [(OLDER,), (SECRET,), (SECRET, OLDER), (OLDER, SECRET)]

    async def answers(door: Door) -> list[int]:
        given = []
        for secrets in signed_by:
            body = event()
            headers = [door.sign(body, secret=secret).split(b",") for secret in secrets]
            header = b",".join([headers[0][0], *(v1 for _, v1 in headers)])
            given.append(await door.hears(body, header))
        return given

    async with opened(database, stripe_webhook_secrets=OLDER) as before:
        assert await answers(before) == [200, 400, 200, 200]
    async with opened(database, stripe_webhook_secrets=f"{SECRET},{OLDER}") as during:
        assert await answers(during) == [200, 200, 200, 200]
    async with opened(database, stripe_webhook_secrets=SECRET) as after:
        assert await answers(after) == [400, 200, 200, 200]
        assert await after.stored() == 10


async def test_a_replay_is_answered_200_and_changes_nothing(door: Door) -> None:
    body = event()
    captured, before = door.sign(body), outcome_count("duplicate")
    assert await door.hears(body, captured) == 200
    door.clock.advance(timedelta(seconds=300))
    assert await door.hears(body, captured) == 200
    assert await door.hears_signed(body) == 200
    assert outcome_count("duplicate") == before + 2
    assert await door.rows("SELECT count(*) FROM stripe_events") == [(1,)]
    assert await door.rows("SELECT count(*) FROM procrastinate_jobs") == [(1,)]
    door.clock.advance(timedelta(seconds=1))
    assert await door.hears(body, captured) == 400


async def test_one_event_delivered_two_hundred_times_at_once_is_stored_once(door: Door) -> None:
    body, before = event(), (outcome_count("enqueued"), outcome_count("duplicate"))
    answers = await asyncio.gather(*(door.hears_signed(body) for _ in range(200)))
    assert set(answers) == {200}
    assert await door.rows("SELECT count(*) FROM stripe_events") == [(1,)]
    assert (outcome_count("enqueued"), outcome_count("duplicate")) == (
        before[0] + 1,
        before[1] + 199,
    )


async def test_every_type_stripe_has_and_a_thousand_it_has_not_are_stored(door: Door) -> None:
    known = typing.get_args(stripe.Event.__annotations__["type"])
    assert len(known) > 200
    named = [(name.rpartition(".")[0], name) for name in known]
    named += [(f"invention_{n}", f"invention_{n}.happened") for n in range(1000)]
    before = outcome_count("unknown"), outcome_count("enqueued")
    bodies = [event(about, f"obj_{n}", type=name) for n, (about, name) in enumerate(named)]
    assert set(await asyncio.gather(*map(door.hears_signed, bodies))) == {200}
    assert await door.stored() == len(named)
    synced = sorted(
        f"{about}:obj_{n}" for n, (about, _) in enumerate(named) if about in SYNC_HANDLERS
    )
    assert synced
    jobs = await door.rows('SELECT lock FROM procrastinate_jobs ORDER BY lock COLLATE "C"')
    assert [lock for (lock,) in jobs] == synced
    assert outcome_count("unknown") == before[0] + len(named) - len(synced)
    assert outcome_count("enqueued") == before[1] + len(synced)


async def test_an_event_about_what_has_no_id_yet_is_stored_and_enqueues_nothing(door: Door) -> None:
    assert await door.hears_signed(event("invoice", None, type="invoice.upcoming")) == 200
    assert await door.rows("SELECT type, object_type, object_id FROM stripe_events") == [
        ("invoice.upcoming", "invoice", None)
    ]
    assert await door.rows("SELECT 1 FROM procrastinate_jobs") == []


# --- what is forged -------------------------------------------------------------------------------


@dataclass
class Forger:
    """Knows the event, the time and how Stripe signs, and all but the secret."""

    random: random.Random
    body: bytes
    moment: int

    def digest(
        self, *, secret: str = SECRET, body: bytes | None = None, moment: str | None = None
    ) -> str:
        signed = (moment or str(self.moment)).encode() + b"." + (body or self.body)
        return hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()

    @property
    def good(self) -> bytes:
        """What only Stripe can make: the start of most forgeries, never sent as it is."""
        return f"t={self.moment},v1={self.digest()}".encode()

    def signed(self, moment: str) -> bytes:
        return f"t={moment},v1={self.digest(moment=moment)}".encode()

    def hexes(self, length: int) -> str:
        return "".join(self.random.choices("0123456789abcdef", k=length))

    def junk(self) -> bytes:
        return self.random.randbytes(self.random.randrange(1, 80))

    def cut(self) -> tuple[bytes, bytes]:
        at = self.random.randrange(len(self.good) + 1)
        return self.good[:at], self.good[at:]

    def changed(self) -> bytes:
        head, tail = self.cut()
        if not tail:
            return head + b"0"
        other = self.random.choice([n for n in range(256) if n != tail[0]])
        return head + bytes([other]) + tail[1:]

    def grown(self) -> bytes:
        head, tail = self.cut()
        grown = self.random.choice([n for n in range(256) if n != ord(",")])
        return head + bytes([grown]) + tail  # a comma more would change nothing that is signed

    def shrunk(self) -> bytes:
        head, tail = self.cut()
        return head + tail[1:] if tail else head[:-1]

    def made_of_parts(self) -> bytes:
        keys = ["t", "t", "v1", "v1", "v1", "v0", "V1", "v2", "", "=", " t", "T"]
        values = [str(self.moment), self.hexes(64), self.hexes(63), "", "=", "\u0661", "9" * 40]
        parts = (
            f"{self.random.choice(keys)}={self.random.choice(values)}"
            for _ in range(self.random.randrange(9))
        )
        return ",".join(parts).encode()

    def odd_moment(self) -> bytes:
        t = str(self.moment)
        arabic = "".join(chr(0x660 + int(digit)) for digit in t)
        odd = ["", "-" + t, "+" + t, t + ".0", t + "e0", " " + t, t + " ", "0x6b", "nan", "inf",
               "_" + t, t[:4] + "_" + t[4:], t + "\n", t + "\0", arabic, t + "\u0661"]  # fmt: skip
        return self.signed(self.random.choice(odd))

    def too_far(self, direction: int) -> bytes:
        return self.signed(str(self.moment + direction * self.random.randrange(601, 10**9)))


FORGERIES: dict[str, Callable[[Forger], list[bytes]]] = {
    "no header": lambda _: [],
    "an empty header": lambda _: [b""],
    "noise": lambda f: [f.junk()],
    "parts in any order": lambda f: [f.made_of_parts()],
    "one byte changed": lambda f: [f.changed()],
    "one byte more": lambda f: [f.grown()],
    "one byte less": lambda f: [f.shrunk()],
    "a byte that is not ASCII": lambda f: [bytes([f.random.randrange(128, 256)]).join(f.cut())],
    "upper-case digits": lambda f: [f"t={f.moment},v1={f.digest().upper()}".encode()],
    "truncated": lambda f: [f.good[: f.random.randrange(len(f.good))]],
    "a digest too long": lambda f: [f.good + f.hexes(f.random.randrange(1, 65)).encode()],
    "a digest of chance": lambda f: [f"t={f.moment},v1={f.hexes(64)}".encode()],
    "v0 only": lambda f: [f.good.replace(b"v1=", b"v0=")],
    "another scheme": lambda f: [
        f.good.replace(b"v1", f.random.choice([b"V1", b"v2", b"v10", b"v01", b" v1", b"v1 ", b""]))
    ],
    "two moments": lambda f: [f"t={f.moment - f.random.randrange(2)},".encode() + f.good],
    "no moment": lambda f: [f.good.partition(b",")[2]],
    "an odd moment": lambda f: [f.odd_moment()],
    "a huge moment": lambda f: [f.signed("9" * f.random.randrange(12, 400))],
    "too old": lambda f: [f.too_far(-1)],
    "from the future": lambda f: [f.too_far(1)],
    "another secret": lambda f: [
        f"t={f.moment},v1={f.digest(secret='whsec_' + f.hexes(32))}".encode()
    ],
    "no secret": lambda f: [f"t={f.moment},v1={f.digest(secret='')}".encode()],
    "half the secret": lambda f: [
        f"t={f.moment},v1={f.digest(secret=SECRET.removeprefix('whsec_'))}".encode()
    ],
    "another body": lambda f: [f"t={f.moment},v1={f.digest(body=f.body + b' ')}".encode()],
    "another moment": lambda f: [
        f"t={f.moment},v1={f.digest(moment=str(f.moment + f.random.choice([-1, 1])))}".encode()
    ],
    "the body alone": lambda f: [
        f"t={f.moment},v1={hmac.new(SECRET.encode(), f.body, hashlib.sha256).hexdigest()}".encode()
    ],
    "five signatures": lambda f: [(f"v1={f.hexes(64)}," * 4).encode() + f.good],
    "one bad signature beside": lambda f: [f.good + b",v1=" + f.hexes(63).encode()],
    "other separators": lambda f: [
        f.good.replace(b",", f.random.choice([b";", b" ", b"&", b", ", b"\n", b"|", b"%2C"]))
    ],
    "other equals": lambda f: [f.good.replace(b"=", f.random.choice([b":", b"==", b" = ", b""]))],
    "spaces around": lambda f: [b" " * f.random.randrange(1, 4) + f.good + b" "],
    "quoted": lambda f: [b'"' + f.good + b'"'],
    "too long": lambda f: [f.good + b",v0=" + b"0" * f.random.randrange(1024, 9000)],
    "thousands of parts": lambda f: [f.good + b",v1=" * f.random.randrange(300, 3000)],
    "two headers": lambda f: [f.good] * f.random.randrange(2, 5),
    "a good header behind a bad one": lambda f: [f.junk(), f.good],
    "a bad header behind a good one": lambda f: [f.good, f.junk()],
}


@pytest.mark.parametrize("forged", [2_000, pytest.param(20_000, marks=pytest.mark.storm)])
async def test_thousands_of_forged_headers_are_all_refused_and_nothing_is_stored(
    door: Door, forged: int
) -> None:
    forger = Forger(random.Random(20261122), event(), int(door.clock().timestamp()))
    before, wrong = outcome_count("refused"), Counter[tuple[str, int]]()
    kinds = list(FORGERIES)
    for n in range(forged):
        kind = kinds[n % len(kinds)]
        forger.moment = int(door.clock().timestamp()) + forger.random.randrange(-300, 301)
        headers = FORGERIES[kind](forger)
        answer = await door.hears(forger.body, *headers)
        if answer != 400:
            wrong[kind, answer] += 1
    assert not wrong
    assert outcome_count("refused") == before + forged
    assert await door.stored() == 0
    assert await door.hears(forger.body, forger.good) == 200  # the door was open all the while
    assert await door.stored() == 1


# --- what is signed and not an event for us -------------------------------------------------------

FIELDS = json.loads(event())
UNREADABLE: dict[str, bytes] = {
    "nothing": b"",
    "a space": b" ",
    "null": b"null",
    "a number": b"1",
    "a string": b'"evt_1"',
    "a list": b"[" + event() + b"]",
    "two events": event() + event(),
    "half an event": event()[:-40],
    "a trailing comma": event()[:-1] + b",}",
    "Python": str(FIELDS).encode(),
    "a form": b"id=evt_1&type=charge.updated",
    "UTF-16": event().decode().encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + event(),
    "invalid UTF-8 in a field that is decoded": event(type="caf\u00e9").replace(
        b"\\u00e9", b"\xe9"
    ),
    "invalid UTF-8 in a field that is not decoded": event(x="\u00e9").replace(
        b"\\u00e9", b"\xff\xfe"
    ),
    "a surrogate in UTF-8": event(x="X").replace(b'"X"', b'"\xed\xa0\x80"'),
    "a lone surrogate": event(id="evt_\ud800"),
    "a raw NUL": event().replace(b"evt_", b"evt\0_"),
    "a list as deep as the sea": b"[" * 200_000,
    "an object as deep": b'{"a":' * 50_000,
    "a deep field that is not decoded": event(x="X").replace(b'"X"', b"[" * 100_000),
    "a deep field, closed": event(x="X").replace(b'"X"', b"[" * 100_000 + b"]" * 100_000),
    "deep data": event(data="X").replace(b'"X"', b'{"object":' * 20_000 + b"1" + b"}" * 20_000),
}
ODD: dict[str, list[object]] = {
    "id": [None, 1, "", " ", "evt 1", "evt_1\n", "evt\0", "evt_\u00e9", "e" * 256, ["evt_1"], {}],
    "type": [None, 1, "", "charge updated", "a" * 256, "charge.updated\0", ["charge.updated"]],
    "created": [None, "now", -1, 1.5, True, 253_402_300_800, 10**30, [], "2026-11-22T12:00:00Z"],
    "livemode": [None, 0, 1, "false", [], {}],
    "data": [None, 1, "ch_1", [], {}, {"object": None}, {"object": "ch_1"}, {"object": []}],
    "api_version": [1, "", "2026 10", "v\0", [], "v" * 256],
}
ODD_OBJECTS: list[dict[str, object]] = [
    {},
    {"id": "ch_1"},
    {"object": None, "id": "ch_1"},
    {"object": 1, "id": "ch_1"},
    {"object": "", "id": "ch_1"},
    {"object": "charge\0", "id": "ch_1"},
    {"object": "charge", "id": 1},
    {"object": "charge", "id": ""},
    {"object": "charge", "id": "ch_1\0"},
    {"object": "charge", "id": "ch_1\n"},
    {"object": "charge", "id": "ch_1'; DROP TABLE stripe_events; --"},
    {"object": "charge", "id": "../payouts/po_1"},
    {"object": "charge", "id": "c" * 256},
    {"object": "charge", "id": ["ch_1"]},
]


async def test_a_body_that_is_no_event_is_refused_however_well_it_is_signed(door: Door) -> None:
    bodies = dict(UNREADABLE)
    for name, values in ODD.items():
        for value in values:
            bodies[f"{name} = {value!r:.60}"] = json.dumps(FIELDS | {name: value}).encode()
    for thing in ODD_OBJECTS:
        bodies[f"object = {thing!r:.60}"] = event(data={"object": thing})
    for name in ("id", "type", "created", "livemode", "data"):
        bodies[f"no {name}"] = json.dumps({k: v for k, v in FIELDS.items() if k != name}).encode()
    before = outcome_count("refused")
    answers = {name: await door.hears_signed(body) for name, body in bodies.items()}
    assert {name: answer for name, answer in answers.items() if answer != 400} == {}
    assert outcome_count("refused") == before + len(bodies)
    assert len(bodies) > 70
    assert await door.stored() == 0


async def test_a_body_of_256_kib_is_taken_and_a_byte_more_is_not(door: Door) -> None:
    empty = event(padding="")
    full = empty.replace(b'"padding": ""', b'"padding": "%s"' % (b"x" * (256 * 1024 - len(empty))))
    assert len(full) == intake.MAX_BODY_BYTES == 262_144
    over = full.replace(b"xx", b"xxx", 1)
    assert await door.hears_signed(over) == 413
    assert await door.hears(over, door.sign(over), length=None) == 413  # sent in pieces
    assert await door.hears(over, door.sign(over), length=10) in (400, 413)  # and lied about
    assert await door.stored() == 0
    assert await door.hears_signed(full) == 200
    assert await door.stored() == 1


@pytest.mark.parametrize(
    "body",
    [event(livemode=True), event(account="acct_1"), event(account="acct_1", livemode=True)],
    ids=["live", "another account", "both"],
)
async def test_an_event_of_another_mode_or_account_is_counted_apart_and_not_stored(
    door: Door, body: bytes
) -> None:
    counted = WEBHOOKS.labels("foreign")._value
    before = counted.get()
    assert await door.hears_signed(body) == 200
    assert counted.get() == before + 1
    assert await door.stored() == 0
    assert await door.hears(body, door.sign(body, secret="whsec_" + "1" * 32)) == 400
    assert counted.get() == before + 1  # only Stripe can say so


async def test_a_live_service_does_not_take_test_events(database: str) -> None:
    async with opened(
        database,
        stripe_api_key="sk_live_" + secret_named("live")[:24],
        stripe_api_base="https://api.stripe.com",
    ) as live:
        assert await live.hears_signed(event()) == 200
        assert await live.stored() == 0
        assert await live.hears_signed(event(livemode=True)) == 200
        assert await live.stored() == 1


# --- when the database is away --------------------------------------------------------------------


@contextmanager
def away(cluster: str, database: str) -> Iterator[None]:
    """Nobody can reach this database, and who was connected is not any more."""
    with _connected(cluster) as owner:
        owner.execute(f"ALTER DATABASE {_name(database)} ALLOW_CONNECTIONS false".encode())
        _cut(owner, database)
        try:
            yield
        finally:
            owner.execute(f"ALTER DATABASE {_name(database)} ALLOW_CONNECTIONS true".encode())


def _name(database: str) -> str:
    name = make_url(database).database
    assert name is not None
    return name


def _connected(url: str) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(driver_url(url), autocommit=True)


def _cut(owner: psycopg.Connection[tuple[object, ...]], database: str, *, but: int = 0) -> None:
    owner.execute(
        "SELECT pg_terminate_backend(pid, %s) FROM pg_stat_activity"
        " WHERE datname = %s AND pid <> %s",
        [REAL_TIMEOUT_SECONDS * 1000, _name(database), but],
    )


async def test_without_a_database_nothing_is_acknowledged_and_all_is_taken_when_it_is_back(
    door: Door, cluster: str, database: str
) -> None:
    assert await door.hears_signed(event()) == 200
    bodies, before = [event(object_id=f"ch_{n}") for n in range(300)], outcome_count("unavailable")
    with away(cluster, database):
        assert [await door.hears_signed(body) for body in bodies[:5]] == [503] * 5
        assert set(await asyncio.gather(*map(door.hears_signed, bodies))) == {503}
    assert outcome_count("unavailable") == before + 305
    assert await door.stored() == 1
    assert set(await asyncio.gather(*map(door.hears_signed, bodies))) == {200}
    assert await door.stored() == 301


async def test_events_cut_off_in_the_middle_of_their_statement_are_sent_again_and_none_is_lost(
    door: Door, cluster: str, database: str
) -> None:
    bodies = {f"evt_{n}": event(id=f"evt_{n}", object_id=f"ch_{n % 7}") for n in range(900)}
    answers: dict[str, int] = {}

    async def deliver(event_id: str) -> None:
        answers[event_id] = await door.hears_signed(bodies[event_id])

    for start in range(0, 900, 300):
        batch = list(bodies)[start : start + 300]
        with _connected(database) as owner, owner.transaction():
            owner.execute("LOCK TABLE stripe_events IN EXCLUSIVE MODE")
            under_way = [asyncio.create_task(deliver(event_id)) for event_id in batch]
            with _connected(cluster) as other:
                await _blocked(other, by=owner.info.backend_pid)
                _cut(other, database, but=owner.info.backend_pid)
        await asyncio.gather(*under_way)
    acknowledged = {event_id for event_id, answer in answers.items() if answer == 200}
    assert set(answers.values()) == {200, 503}
    stored = {row[0] for row in await door.rows("SELECT id FROM stripe_events")}
    assert acknowledged == stored
    for event_id in bodies.keys() - acknowledged:
        await deliver(event_id)
    assert set(answers.values()) == {200}
    assert await door.stored() == 900
    assert await door.rows("SELECT count(*) FROM procrastinate_jobs") == [(7,)]


async def _blocked(owner: psycopg.Connection[tuple[object, ...]], *, by: int) -> None:
    """Until somebody waits for what that connection holds."""
    waiting = "SELECT 1 FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))"
    async with asyncio.timeout(REAL_TIMEOUT_SECONDS):
        while (await asyncio.to_thread(owner.execute, waiting, [by])).fetchone() is None:
            pass


async def test_a_database_that_restarted_costs_no_delivery(
    door: Door, cluster: str, database: str
) -> None:
    async with AsyncExitStack() as pages:  # as many at once leave a full pool behind
        for _ in range(10):
            await pages.enter_async_context(door.ctx.engine.connect())
    assert door.ctx.engine.pool.checkedin() == 10  # type: ignore[attr-defined]  # of its kind of pool
    with _connected(cluster) as owner:
        _cut(owner, database)
    answers = [await door.hears_signed(event()) for _ in range(12)]
    assert answers == [200] * 12


async def test_a_caller_who_hangs_up_takes_no_other_event_along(door: Door) -> None:
    inbox = intake.Inbox(door.ctx.engine, synced_types=frozenset(SYNC_HANDLERS))
    events = [intake.decode(event(), livemode=False) for _ in range(3)]
    gone, *others = [asyncio.create_task(inbox.store(one, now=door.clock())) for one in events]
    await asyncio.sleep(0)
    gone.cancel()
    assert await asyncio.gather(*others) == [True, True]
    assert await door.stored() >= 2
