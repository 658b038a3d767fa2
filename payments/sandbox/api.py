"""The API: one request in, one answer out, nothing awaited in between.

In the order Stripe does it: the key, the version, the parameters, the idempotency key, the route.
An answer to a POST is kept for a day under its key and given again, unless the request was refused
before it began.
"""

import base64
import re
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import format_datetime
from importlib import import_module
from types import ModuleType
from typing import Final

import msgspec

from payments.sandbox import (
    amending,
    balance,
    catalog,
    charges,
    checkout,
    collecting,
    customers,
    debiting,
    delayed,
    disputes,
    events,
    invoice_items,
    invoice_verbs,
    invoices,
    listing,
    movements,
    owner,
    pausing,
    paying,
    payment_intents,
    payment_methods,
    payouts,
    refunds,
    renewals,
    routes,
    setup_intents,
    subscribing,
    subscriptions,
)
from payments.sandbox import params as read
from payments.sandbox.account import API_VERSION, Account
from payments.sandbox.errors import Refusal, invalid, unauthorised
from payments.sandbox.wire import Obj, decode_form

# Importing a noun registers its routes and what falls due.
NOUNS: Final = (
    amending, balance, catalog, charges, checkout, collecting, customers, debiting, delayed,
    disputes, events, invoice_items, invoice_verbs, invoices, movements, owner, pausing, paying,
    payment_intents, payment_methods, payouts, refunds, renewals, setup_intents, subscribing,
    subscriptions,
)  # fmt: skip
KEPT_FOR: Final = 24 * 60 * 60
REMEMBERED: Final = 20_000

_OWN_ROUTES: Final = re.compile(r"^/v1/(payment_pages/|stripecli/|events/[^/]+/retry$)")
BROKEN: Final = {"type": "api_error", "message": "An unknown error occurred."}
_NEVER_KEPT: Final = (400, 401, 404, 409, 429)


@dataclass(frozen=True)
class Request:
    """A request to the API, as it came."""

    method: str
    path: str
    query: str
    body: str
    headers: Mapping[str, str]

    @property
    def form(self) -> str:
        return self.body if self.method == "POST" else self.query

    @property
    def key(self) -> str | None:
        return self.headers.get("Idempotency-Key") if self.method == "POST" else None


@dataclass(frozen=True)
class Answer:
    """What goes back."""

    status: int
    body: bytes
    headers: dict[str, str]


@dataclass(frozen=True)
class RequestSeen:
    """A request the API served, for whoever counts."""

    method: str
    path: str
    params: Obj
    idempotency_key: str | None
    status: int


@dataclass
class Kept:
    """An idempotency key, what it was used for, and the answer."""

    path: str
    params: Obj
    until: int
    status: int = 0
    body: bytes = b""


class Api:
    """One account's API."""

    def __init__(self, account: Account, *, check_contract: bool, problems: list[str]) -> None:
        self.account = account
        self.check_contract = check_contract
        self.problems = problems
        self.seen: deque[RequestSeen] = deque(maxlen=REMEMBERED)
        self.kept: OrderedDict[str, Kept] = OrderedDict()
        self.in_flight: set[str] = set()

    def answer(self, request: Request) -> Answer:
        """Serve one request."""
        headers = self._headers(request)
        params: Obj = {}
        try:
            _check_key(request)
            params = decode_form(request.form)
            status, body = self._serve(request, params, headers)
        except Refusal as refusal:
            status, body = refusal.status, msgspec.json.encode(refusal.body)
        except Exception as error:  # noqa: BLE001 - a fault of ours answers as a fault of Stripe's
            self.problems.append(f"{request.method} {request.path}: {error!r}")
            status, body = 500, msgspec.json.encode({"error": BROKEN})
        if request.key and status not in _NEVER_KEPT and "Idempotent-Replayed" not in headers:
            until = self.account.clock.wall_stamp() + KEPT_FOR
            self.kept[request.key] = Kept(request.path, params, until, status, body)
        self.note(request, params, status)
        return Answer(status, body, headers)

    def note(self, request: Request, params: Obj, status: int) -> None:
        """Remember that a request was served."""
        self.seen.append(RequestSeen(request.method, request.path, params, request.key, status))

    def trouble(self, request: Request, status: int, error: Obj) -> Answer:
        """An answer that has nothing to do with the request."""
        self.note(request, decode_form(request.form), status)
        body = msgspec.json.encode({"error": error})
        return Answer(status, body, self._headers(request))

    # -- steps --------------------------------------------------------------------------------

    def _serve(self, request: Request, params: Obj, headers: dict[str, str]) -> tuple[int, bytes]:
        if request.key is not None:
            kept = self._replay(request, params)
            if kept is not None:
                headers["Idempotent-Replayed"] = "true"
                return kept.status, kept.body
        found = routes.match(request.method, request.path)
        if found is None:
            message = f"Unrecognized request URL ({request.method}: {request.path})."
            refusal = invalid(message)
            refusal.status = 404
            raise refusal
        self._check_request(request)
        verb, ids = found
        call = routes.Call(self.account, request.path, params, ids, _is_pinned(request))
        self.account.request = {"id": headers["Request-Id"], "idempotency_key": request.key}
        try:
            payload = verb(call)
        finally:
            self.account.request = {"id": None, "idempotency_key": None}
        payload = listing.expand(self.account.store, payload, read.rows(params, "expand"))
        body = msgspec.json.encode(payload)
        self._check_response(request, body)
        return 200, body

    def _replay(self, request: Request, params: Obj) -> Kept | None:
        key, now = request.key or "", self.account.clock.wall_stamp()
        while self.kept and next(iter(self.kept.values())).until < now:
            self.kept.popitem(last=False)
        if len(key) > 255:
            raise invalid("Idempotency keys can be up to 255 characters.")
        kept = self.kept.get(key)
        if kept is not None and (kept.path, kept.params) != (request.path, params):
            message = "Keys for idempotent requests can only be used with the same parameters they "
            message += f"were first used with. Try using a key other than '{key}'."
            raise Refusal(400, {"type": "idempotency_error", "message": message})
        return kept

    def busy(self, request: Request) -> Answer | None:
        """409 when another request with the same key is still being served."""
        if request.key not in self.in_flight:
            return None
        message = "There is currently another in-progress request using this Idempotency Key."
        error = {"type": "idempotency_error", "code": "idempotency_key_in_use", "message": message}
        return self.trouble(request, 409, error)

    def _headers(self, request: Request) -> dict[str, str]:
        headers = {
            "Content-Type": "application/json",
            "Date": format_datetime(self.account.clock.wall(), usegmt=True),
            "Request-Id": self.account.store.mint("req", 14),
            "Stripe-Version": request.headers.get("Stripe-Version", API_VERSION),
        }
        key = request.headers.get("Idempotency-Key")
        if key:
            headers["Idempotency-Key"] = key
        return headers

    # -- the contract -------------------------------------------------------------------------

    def _check_request(self, request: Request) -> None:
        """A request at the pinned version holds nothing that version does not know."""
        if not _is_pinned(request) or _OWN_ROUTES.match(request.path):
            return
        target = f"{request.path}?{request.query}" if request.query else request.path
        problems = contract().check_request(request.method, target, request.body)
        if problems:
            if self.check_contract:
                self.problems.extend(problems)
            raise _contract_refusal(problems[0])

    def _check_response(self, request: Request, body: bytes) -> None:
        if self.check_contract and not _OWN_ROUTES.match(request.path):
            payload = msgspec.json.decode(body)
            found = contract().check_response(request.method, request.path, payload)
            self.problems.extend(found)

    def check_event(self, event: Obj) -> None:
        if self.check_contract:
            payload = msgspec.json.decode(msgspec.json.encode(event))
            self.problems.extend(contract().check_event(payload))


def contract() -> ModuleType:
    """The contract checker; loaded late, since it reads the whole SDK."""
    return import_module("payments.sandbox.contract")


def _contract_refusal(problem: str) -> Refusal:
    named = re.search(r"\$\.([\w.\[\]]+)", problem)
    if named is None:
        return invalid(problem)
    head, *rest = re.sub(r"\[(\d+)\]", r".\1", named.group(1)).rstrip(".").split(".")
    param = head + "".join(f"[{step}]" for step in rest)
    if "missing" in problem:
        return invalid(f"Missing required param: {param}.", param, "parameter_missing")
    if "payment_method_types" in param:
        code = "payment_method_types_no_longer_supported"
        return invalid(f"{param} is no longer supported.", param, code)
    if " not in " in problem or "unknown" in problem:
        return invalid(f"Received unknown parameter: {param}", param, "parameter_unknown")
    return invalid(f"Invalid {param}: {problem}", param)


def _is_pinned(request: Request) -> bool:
    return request.headers.get("Stripe-Version") == API_VERSION


def _check_key(request: Request) -> None:
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    key = value
    if scheme.lower() == "basic":
        try:
            key = base64.b64decode(value).decode().partition(":")[0]
        except ValueError:
            key = ""
    if not key:
        raise unauthorised("You did not provide an API key.")
    if not key.startswith(("sk_test_", "rk_test_")):
        raise unauthorised(f"Invalid API Key provided: {key[:8]}****")
