"""Control routes: tests and people advance the clock, add faults and simulate events through them.

None of this is Stripe's. It answers JSON under `/_control/`; a wrong request is answered 400 with
`{"error": {"message", "field"}}`. `/` is a page with recent objects.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from aiohttp import web

from payments.sandbox import api_keys, control_input, webhook_deliveries
from payments.sandbox.control_input import InputError
from payments.sandbox.errors import ApiError
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.hosted_page import amount_and_interval, get_template
from payments.sandbox.routes import path_template
from payments.sandbox.sandbox import Sandbox
from payments.sandbox.simulations import SimulatedActions

MAX_LISTED = 30
# The Sandbox methods that `/_control/do/{action}` calls by name.
SIMULATED_ACTIONS = frozenset(
    name for name in vars(SimulatedActions) if not name.startswith("_")
) | {"emit_event", "redeliver"}

Result = TypeVar("Result")
_Handler = Callable[[web.Request], Awaitable[JsonObject]]


def add_routes(app: web.Application, sandbox: Sandbox) -> None:
    """Add the control routes of a sandbox to its application."""
    control = ControlHandlers(sandbox)
    app.router.add_get("/", control.index)
    app.router.add_post("/", control.advance_from_index)
    for method, path, handler in control.routes():
        app.router.add_route(method, f"/_control{path}", _answering(handler))


def _answering(handler: _Handler) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Return the handler that answers JSON, errors of the request included."""

    async def answer(http: web.Request) -> web.Response:
        try:
            return web.json_response(await handler(http))
        except InputError as error:
            return web.json_response(error.body, status=error.status)
        except ApiError as error:
            return web.json_response(
                {"error": {"message": str(error), "field": error.error.get("param")}}, status=400
            )
        except (KeyError, TypeError, ValueError) as error:
            return web.json_response(control_input.from_error(error).body, status=400)

    return answer


class ControlHandlers:
    """The handlers of the control routes: each takes a request and returns the answer."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox

    def routes(self) -> list[tuple[str, str, _Handler]]:
        """Return the control routes: method, path below `/_control` and handler."""
        return [
            ("GET", "", self.overview),
            ("GET", "/health", self.health),
            ("GET", "/clock", self.clock),
            ("POST", "/clock", self.advance),
            ("GET", "/faults", self.faults),
            ("POST", "/faults", self.add_fault),
            ("DELETE", "/faults", self.clear_faults),
            ("GET", "/deliveries", self.deliveries),
            ("POST", "/deliveries/flush", self.flush),
            ("POST", "/deliveries/redeliver", self.redeliver),
            ("GET", "/keys", self.keys),
            ("GET", "/requests", self.requests),
            ("POST", "/save", self.save),
            ("POST", "/reset", self.reset),
            ("POST", "/do/{action}", self.perform),
        ]

    async def overview(self, _http: web.Request) -> JsonObject:
        """Answer the control routes and the actions, with what they do and take."""
        return {
            "routes": {
                f"{method} /_control{path}": (handler.__doc__ or "").strip()
                for method, path, handler in self.routes()
            },
            "actions": {
                name: control_input.describe(getattr(Sandbox, name))
                for name in sorted(SIMULATED_ACTIONS)
            },
        }

    async def health(self, _http: web.Request) -> JsonObject:
        """Answer the problems found so far."""
        return {"status": "ok", "problems": self.sandbox.problems}

    async def clock(self, _http: web.Request) -> JsonObject:
        """Answer billing time, wall time and the seconds between them."""
        clock = self.sandbox.clock
        return {
            "now": clock.now().isoformat(),
            "wall": clock.wall_now().isoformat(),
            "offset_seconds": clock.offset.total_seconds(),
        }

    async def advance(self, http: web.Request) -> JsonObject:
        """Advance billing time: `{"advance_seconds": n}` or `{"to": "2027-01-31T00:00:00Z"}`."""
        await _call(http, self._advance)
        return await self.clock(http)

    async def _advance(
        self, *, advance_seconds: float | None = None, to: datetime | None = None
    ) -> None:
        if (advance_seconds is None) == (to is None):
            raise InputError("One of advance_seconds and to is needed.", "advance_seconds")
        if to is not None:
            if to.tzinfo is None:
                raise InputError("A time needs its offset, such as Z.", "to")
            await self.sandbox.advance(to=to)
        else:
            await self.sandbox.advance(timedelta(seconds=advance_seconds or 0))

    async def faults(self, _http: web.Request) -> JsonObject:
        """Answer the pending faults; those without `times` last until they end or are cleared."""
        pending = [{"method": f.method, "path": f.path.pattern, "kind": f.kind,
                    "times": f.remaining} for f in self.sandbox.faults.pending]  # fmt: skip
        return {"faults": pending}

    async def add_fault(self, http: web.Request) -> JsonObject:
        """Add a fault: `{"method", "path", "kind", "times", "until", …}`."""
        await _call(http, self._add_fault)
        return await self.faults(http)

    async def _add_fault(  # noqa: PLR0913 - the fields of a body
        self,
        *,
        path: str,
        kind: str,
        method: str = "*",
        times: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        share: float = 1.0,
        should_retry: bool | None = None,
        keep: bool = False,
        takes_effect: bool = False,
        seconds: float | None = None,
    ) -> None:
        for name, moment in (("since", since), ("until", until)):
            if moment is not None and moment.tzinfo is None:
                raise InputError("A time needs its offset, such as Z.", name)
        self.sandbox.faults.add(
            method, path, kind, times, since=since, until=until, share=share,
            should_retry=should_retry, keep=keep, takes_effect=takes_effect, seconds=seconds,
        )  # fmt: skip

    async def clear_faults(self, http: web.Request) -> JsonObject:
        """Remove all pending faults."""
        self.sandbox.faults.clear()
        return await self.faults(http)

    async def deliveries(self, _http: web.Request) -> JsonObject:
        """Answer the queued deliveries."""
        return {"pending": webhook_deliveries.queued(self.sandbox.account)}

    async def flush(self, _http: web.Request) -> JsonObject:
        """Send all deliveries that are due."""
        return {"sent": await self.sandbox.deliver_pending(concurrency=8)}

    async def redeliver(self, http: web.Request) -> JsonObject:
        """Queue an event once more: `{"event": "evt_…"}`."""
        await _call(http, self._redeliver)
        return await self.deliveries(http)

    async def _redeliver(self, *, event: str) -> None:
        if self.sandbox.account.store.get("event", event) is None:
            raise InputError(f"No such event: {event}", "event", status=404)
        self.sandbox.redeliver(event)

    async def requests(self, _http: web.Request) -> JsonObject:
        """Answer how often each endpoint was called, and which permissions that needed."""
        counts = Counter(
            f"{r.method} {path_template(r.method, r.path)}" for r in self.sandbox.requests
        )
        needed = {p for r in self.sandbox.requests for p in (r.permission, *r.expand_permissions)}
        return {"requests": dict(counts.most_common()), "permissions": sorted(needed - {""})}

    async def keys(self, _http: web.Request) -> JsonObject:
        """Answer the API keys, masked, with their scopes; a key without scopes may do all."""
        listed = api_keys.listed(self.sandbox.account)
        return {"keys": [{**asdict(key), "secret": key.masked} for key in listed]}

    async def save(self, http: web.Request) -> JsonObject:
        """Save the sandbox to a file: `{"path": "…"}`."""
        return {"saved": await _call(http, self._save)}

    async def _save(self, *, path: str) -> str:
        try:
            self.sandbox.save(path)
        except OSError as error:
            raise InputError(str(error), "path") from None
        return path

    async def reset(self, http: web.Request) -> JsonObject:
        """Begin anew, with the same seed or with `{"seed": n}`; API keys and settings stay."""
        await _call(http, self._reset)
        return await self.health(http)

    async def _reset(self, *, seed: int | None = None) -> None:
        self.sandbox.reset(seed)

    async def perform(self, http: web.Request) -> JsonObject:
        """Simulate an action with the body as its arguments, and answer what it returned.

        `/_control/do/fail_card` with `{"payment_method_id": "pm_…", "code": "lost_card"}`.
        """
        action = http.match_info["action"]
        if action not in SIMULATED_ACTIONS:
            known = ", ".join(sorted(SIMULATED_ACTIONS))
            raise InputError(f"No such action: {action}; there are {known}.", "action", status=404)
        method = getattr(self.sandbox, action)
        return {"done": method(**control_input.parse(await http.read(), method))}

    # -- the index ----------------------------------------------------------------------------

    async def advance_from_index(self, http: web.Request) -> web.Response:
        """Advance billing time by a day or a month, from the index page's form."""
        days = {"day": 1, "month": 31}.get(str((await http.post()).get("by")), 0)
        await self.sandbox.advance(timedelta(days=days))
        raise web.HTTPSeeOther("/")

    async def index(self, _http: web.Request) -> web.Response:
        """Show the latest sessions and events."""
        account = self.sandbox.account
        sessions = list(account.store.of_kind("checkout.session"))[-MAX_LISTED:][::-1]
        events = list(account.store.of_kind("event"))[-MAX_LISTED:][::-1]
        html = get_template("index.html").render(
            now=f"{self.sandbox.clock.now().astimezone(UTC):%Y-%m-%d %H:%M} UTC",
            sessions=[{**s, "amount": amount_and_interval(account, s)} for s in sessions],
            events=[self._event_row(event) for event in events],
        )
        policy = (
            "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self';"
            " base-uri 'none'"
        )
        headers = {"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer"}
        return web.Response(text=html, content_type="text/html", headers=headers)

    def _event_row(self, event: JsonObject) -> JsonObject:
        created = datetime.fromtimestamp(event["created"], UTC)
        account = self.sandbox.account
        unacknowledged = webhook_deliveries.unacknowledged_endpoints(account, event["id"])
        attempts = account.store.facts.get(event["id"], {}).get("attempts", [])
        delivery = "waiting" if unacknowledged else "delivered" if attempts else "nobody asked"
        return {
            "id": event["id"],
            "type": event["type"],
            "at": f"{created:%Y-%m-%d %H:%M:%S}",
            "delivery": f"{delivery} ({len(attempts)} tries)" if attempts else delivery,
        }


async def _call(http: web.Request, handler: Callable[..., Awaitable[Result]]) -> Result:
    """Call a handler with the body of a request as its keyword arguments."""
    return await handler(**control_input.parse(await http.read(), handler))
