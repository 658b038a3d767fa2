"""Requests made up at random for every route of an application, sent to it as a server would.

The routes are the application's own. What is sent is half right: real paths, forms and links that a
donor and a colleague find by clicking, with something changed in them, so that it comes further
than the first check. httpx would refuse to send much of it, so the application is called directly.
"""

import json
import random
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import httpx
from litestar import Litestar

from payments.web import rendering
from tests.support.page import Page

QUERY_NAME = re.compile(r"""query_params(?:\.get\(|\[)\s*"(\w+)"|params\["(\w+)"\]""")
METHODS = ("GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "QUUX")
LONG, SURROGATE, BEYOND = "a" * 3000, "\ud800", "\U0010ffff"
TEXTS = (
    *("", " ", "\0", "a\0b", LONG, SURROGATE, BEYOND, "é", "\u0435\u0301", "\u202eabc", "\u2028"),
    *("\ufeff", "0", "-1", "+1", "1.5", "1e9", "NaN", "inf", "²", "\u0663", "1_0", "9" * 30),
    *("9" * 5000, "2147483648", "9223372036854775808", "0000", "0000-01", "9999-12", "10000-01"),
    *("2026-00", "2026-13", "-001-01", "2026-02-30", "0001-01-01", "9999-12-31", "\u0662-\u0661"),
    *("2026-01-01T25:00", "2026-1", "0" * 32, "..", "../../etc/passwd", "%00", "%", "%zz", "{}"),
    *("{0}", "%(x)s", "%s", "[]", "null", "true", "usd", "USD", "xxx", "monthly", "x.y", "a.b.c"),
    *("x" * 43, "AAAA", "AA==", "=", "a@b.example", "a@\0", "@", "a@" + "b." * 200, "\r\nX-A: b"),
    *("a@xn--a.example", "<script>", "'--", "\\", "//evil", "http://evil.example", "ru", "zz-ZZ"),
    *("*", ";", ",", "\x1b[0m", "\x7f", "😀" * 300, "cs_test_a"),
)  # fmt: skip
TYPES = (
    *("application/x-www-form-urlencoded", "application/json", "text/plain", "", ";", "/"),
    *("multipart/form-data", "multipart/form-data; boundary="),
    *('multipart/form-data; boundary="B"', "multipart/form-data; boundary=é", "x/msgpack"),
    *("multipart/form-data; boundary=" + "B" * 300, "multipart/form-data; boundary=B"),
    *("application/json; charset=zzz", "application/x-www-form-urlencoded; charset=utf-16"),
)  # fmt: skip
CHARSETS = ("utf-8", "zzz", "utf-16", "idna", "base64", "zlib", "undefined", "\0", "latin-1")
DISPOSITIONS = (
    *('form-data; name="{name}"', 'form-data; name="{name}"; filename="x"', "form-data", "", ";"),
    *("attachment; name={name}", 'form-data; name="\udcff"', "form-data; name*=zzz''%ff"),
    "form-data; name=" + LONG,
)
HEADERS = (
    *(
        "cookie",
        "host",
        "origin",
        "referer",
        "sec-fetch-site",
        "accept",
        "accept-language",
        "range",
    ),
    *(
        "if-none-match",
        "if-modified-since",
        "x-forwarded-for",
        "x-forwarded-proto",
        "authorization",
    ),
    *("idempotency-key", "content-length", "stripe-signature", "accept-encoding", "user-agent"),
    *("x-http-method-override", "transfer-encoding", "connection", "content-encoding", "expect"),
)
HEADER_VALUES = (
    *("", "\0", "\xff\xfe", "é", LONG * 3, ",", ";", "=", "a=b; a=c", "staff", "staff=", '="'),
    *("donor=;;", "null", "same-origin", "cross-site", "bytes=0-0", "bytes=9-1", "bytes=-", "-1"),
    *("Bearer", "Bearer \xff", "Basic \xff", "t=1,v1=x", "t=²,v1=x", "t=" + "9" * 400, "[", "W/"),
    *("::1%eth0", "[::1]:1", "1.2.3.4, x", "en;q=NaN", "ru;q=1e999,*;q=\u0663", "a-" * 400, '"\\'),
    *("utf-8;q=x", "Wed, 99 Feb 0000", "http://[", "http://[::", "127.0.0.1:99999999", "\x85"),
    *("127.0.0.1:x", "ftp://a:b@c", "$Version=1"),
)  # fmt: skip


@dataclass(frozen=True)
class Made:
    """One request, as a server hands it on, and the route it is for."""

    route: str
    method: str
    raw_path: bytes
    query: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: tuple[bytes, ...]


@dataclass(frozen=True)
class Example:
    """What somebody found by clicking: a link, or a form as it came."""

    path: str
    fields: tuple[tuple[str, str], ...] = ()
    is_form: bool = False


@dataclass
class Fuzzer:
    """Makes requests of a seed and sends them, most of them with somebody's cookies."""

    app: Litestar
    seed: int
    base_url: str
    cookies: str = ""  # of everybody who is signed in
    examples: list[Example] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    routes: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[int, Made]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.methods: dict[str, tuple[str, ...]] = {
            route.path_format: tuple(sorted(getattr(route, "methods", {"GET"}) - {"OPTIONS"}))
            for route in self.app.routes
        }
        self.paths = sorted(self.methods)
        source = "".join(file.read_text() for file in sorted(rendering.WEB_DIR.rglob("*.py")))
        self.names = sorted({one or other for one, other in QUERY_NAME.findall(source)})

    async def learn(self, web: httpx.AsyncClient, begin: Iterable[str]) -> None:
        """Follow every link from some pages on, and remember the links and forms there."""
        waiting, seen = list(begin), set[str]()
        while waiting:
            address = waiting.pop()
            parts = urlsplit(address)
            shape = re.sub(r"[0-9a-f]{16,}|\d+|lang=\w+", "#", parts.path + "?" + parts.query)
            if shape in seen or not parts.path.startswith("/") or parts.netloc:
                continue
            seen.add(shape)
            self.examples.append(Example(parts.path, tuple(parse_qsl(parts.query))))
            answer = await web.get(address)
            if not answer.headers.get("content-type", "").startswith("text/html"):
                continue
            page = Page(answer.text)
            waiting += [link for link in page.links.values() if link.startswith("/")]
            for form in page.forms:
                action = urlsplit(form.action or address).path
                filled = tuple(form.submission().items())
                self.examples.append(Example(action, filled, is_form=form.method == "post"))
        self.names = sorted(
            {*self.names, *(name for example in self.examples for name, _ in example.fields)}
        )

    async def send(
        self, count: int, *, every: int = 100, then: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Send so many requests; after `every` so many of them, do something else."""
        for number in range(count):
            if then is not None and number % every == every - 1:
                await then()
            made = self.make(self.paths[number % len(self.paths)])
            status = await call(self.app, made)
            self.statuses[status] += 1
            self.routes[made.route] += 1
            if status >= 500:
                self.failures.append((status, made))

    # --- what is sent -----------------------------------------------------------------------------

    def make(self, path_format: str) -> Made:
        """Make up a request for one route."""
        pick = self.random
        shape = re.compile(re.sub(r"\\{[^}]+\\}", "[^/]+", re.escape(path_format)))
        fitting = [one for one in self.examples if shape.fullmatch(one.path)]
        example = pick.choice(fitting) if fitting and pick.random() < 0.7 else None
        path = example.path if example else self._path(path_format)
        if pick.random() < 0.1:
            path = self._broken(path)
        method = pick.choice(self.methods[path_format] if pick.random() < 0.9 else METHODS)
        if example is not None and pick.random() < 0.8:
            method = "POST" if example.is_form else "GET"
        fields = self._fields(example.fields if example else ())
        headers = self._headers()
        query, body = b"", b""
        if method in ("GET", "HEAD", "OPTIONS") and pick.random() < 0.95:
            query = self._encoded(fields)
        else:
            kind, body = self._body(fields)
            headers.append((b"content-type", kind))
        if pick.random() < 0.05:
            query = pick.choice(
                (b"%", b"&&&=", b"=%ff%00", b"a" * 9000, b"&" * 3000, b"\xc3\xa9=\xc3")
            )
        middle = pick.randrange(len(body) + 1)
        chunks = (body,) if pick.random() < 0.8 else (body[:middle], b"", body[middle:])
        return Made(path_format, method, _path_bytes(path), query, tuple(headers), chunks)

    def _text(self) -> str:
        if self.random.random() < 0.9:
            return self.random.choice(TEXTS)
        return "".join(chr(self.random.randrange(0x3000)) for _ in range(self.random.randrange(40)))

    def _path(self, path_format: str) -> str:
        return re.sub(r"{[^}]+}", lambda _: self._text(), path_format)

    def _broken(self, path: str) -> str:
        """Return a path with one of its segments replaced or added."""
        segments = path.split("/")
        at = self.random.randrange(len(segments))
        if self.random.random() < 0.5:
            segments[at] = self._text()
        else:
            segments.insert(at, self._text())
        return "/".join(segments)

    def _fields(self, found: tuple[tuple[str, str], ...]) -> list[tuple[str, str]]:
        fields, pick = list(found), self.random
        for _ in range(pick.choice((0, 1, 1, 1, 2, 5))):
            if fields and pick.random() < 0.7:
                at = pick.randrange(len(fields))
                fields[at] = (fields[at][0], self._text())
            elif self.names:
                fields.append((pick.choice(self.names), self._text()))
        if pick.random() < 0.05:
            fields.append((self._text(), self._text()))
        if fields and pick.random() < 0.05:
            fields.append(pick.choice(fields))
        return fields

    def _encoded(self, fields: list[tuple[str, str]]) -> bytes:
        return urlencode(fields, errors="surrogatepass").encode()

    def _body(self, fields: list[tuple[str, str]]) -> tuple[bytes, bytes]:
        """Return a content type and a body, which are of one kind more often than not."""
        pick, kind = self.random, self.random.choice(TYPES)
        body = self._encoded(fields)
        match pick.randrange(5):
            case 0 | 1:
                kind = TYPES[0] if pick.random() < 0.9 else kind
            case 2:
                kind = "multipart/form-data; boundary=B" if pick.random() < 0.9 else kind
                body = self._multipart(fields)
            case 3:
                kind = "application/json" if pick.random() < 0.9 else kind
                body = self._json(fields)
            case _:
                kind = TYPES[0] if pick.random() < 0.7 else kind  # what most routes read
                too_much = b"x" * 70_000  # for some routes, so there have to be many
                body = pick.choice(
                    (b"", b"\xff\xfe\0", b"%ff=%00&\xff=\xff", b"[" * 20_000, *9 * [too_much])
                )
        return kind.encode(), body

    def _json(self, fields: list[tuple[str, str]]) -> bytes:
        pick = self.random
        values: tuple[Any, ...] = (
            None,
            True,
            0,
            500,
            -1,
            2**70,
            1e308,
            [],
            {},
            [[]],
            {"a": 1},
            "usd",
            "once",
        )
        made: dict[str, Any] = {
            name: text if pick.random() < 0.5 else pick.choice(values) for name, text in fields
        }
        if pick.random() < 0.5:
            made |= {"amount": 500, "currency": "usd", "frequency": "once"}
        sent = json.dumps(pick.choice((made, made, made, [made], None, "x"))).encode()
        return sent if pick.random() < 0.9 else sent[: pick.randrange(len(sent))] + b"\xff"

    def _multipart(self, fields: list[tuple[str, str]]) -> bytes:
        pick, body = self.random, b""
        for name, text in fields:
            disposition = DISPOSITIONS[0] if pick.random() < 0.7 else pick.choice(DISPOSITIONS)
            body += b"--B\r\nContent-Disposition: " + _raw(disposition.replace("{name}", name))
            if pick.random() < 0.5:
                body += b"\r\nContent-Type: text/plain; charset=" + _raw(pick.choice(CHARSETS))
            value = (
                _raw(text) if pick.random() < 0.8 else bytes(pick.randrange(256) for _ in range(9))
            )
            body += b"\r\n\r\n" + value + b"\r\n"
        body += b"--B--\r\n"
        return body if pick.random() < 0.8 else body[: pick.randrange(len(body))]

    def _headers(self) -> list[tuple[bytes, bytes]]:
        pick, own = self.random, self.cookies if self.random.random() < 0.85 else ""
        headers = [(b"host", urlsplit(self.base_url).netloc.encode())]
        if pick.random() < 0.9:
            headers.append((b"sec-fetch-site", b"same-origin"))
        if own:
            headers.append((b"cookie", own.encode()))
        if pick.random() < 0.5:
            headers.append((b"idempotency-key", pick.randbytes(16).hex().encode()))
        for _ in range(pick.choice((0, 0, 1, 3))):
            name, value = pick.choice(HEADERS), pick.choice(HEADER_VALUES)
            headers += [(name.encode(), _raw(value))] * pick.choice((1, 1, 1, 2, 300))
        if own and pick.random() < 0.1:
            headers.append((b"cookie", own.partition("=")[0].encode() + b"=" + _raw(self._text())))
        return headers


async def call(app: Litestar, made: Made) -> int:
    """Send a request to an application. Returns the status; 500 where it raised."""
    chunks, status = list(made.body), 0

    async def receive() -> Any:  # noqa: ANN401 - litestar's messages
        if not chunks:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks)}

    async def send(message: Any) -> None:  # noqa: ANN401 - litestar's messages
        nonlocal status
        status = message.get("status", status)

    scope: Any = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": made.method,
        "scheme": "http",
        "path": unquote(made.raw_path.decode("latin-1"), errors="replace"),
        "raw_path": made.raw_path,
        "query_string": made.query,
        "root_path": "",
        "headers": list(made.headers),
        "client": ("127.0.0.1", 40000),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }
    try:
        await app(scope, receive, send)
    except Exception:  # noqa: BLE001 - a server answers 500 to whatever an application raises
        return 500
    return status


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _path_bytes(path: str) -> bytes:
    """Return a path in percent encoding; a `%` of it stays, so that some of it is broken."""
    return b"".join(
        bytes([byte]) if 0x21 <= byte < 0x7F and byte not in b"?#" else b"%%%02X" % byte
        for byte in _raw(path)
    )
