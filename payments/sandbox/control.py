"""Control routes: tests and people advance the clock, add faults and simulate events through them.

None of this is Stripe's. It answers JSON under `/_control/`; `/` is a page with recent objects.
"""

from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

from aiohttp import web

from payments.sandbox import api_keys, webhook_deliveries
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


def add_routes(app: web.Application, sandbox: Sandbox) -> None:
    """Add the control routes of a sandbox to its application."""
    control = ControlHandlers(sandbox)
    app.router.add_get("/", control.index)
    app.router.add_post("/", control.advance_from_index)
    app.router.add_get("/_control/health", control.health)
    app.router.add_get("/_control/clock", control.clock)
    app.router.add_post("/_control/clock", control.advance)
    app.router.add_get("/_control/faults", control.faults)
    app.router.add_post("/_control/faults", control.add_fault)
    app.router.add_delete("/_control/faults", control.clear_faults)
    app.router.add_get("/_control/deliveries", control.deliveries)
    app.router.add_post("/_control/deliveries/flush", control.flush)
    app.router.add_post("/_control/deliveries/redeliver", control.redeliver)
    app.router.add_get("/_control/keys", control.keys)
    app.router.add_get("/_control/requests", control.requests)
    app.router.add_post("/_control/save", control.save)
    app.router.add_post("/_control/do/{action}", control.perform)


class ControlHandlers:
    """The HTTP handlers of the control routes; a wrong request is answered 400 with `error`."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox

    async def health(self, _http: web.Request) -> web.Response:
        """Answer the problems found so far."""
        return web.json_response({"status": "ok", "problems": self.sandbox.problems})

    async def clock(self, _http: web.Request) -> web.Response:
        """Answer billing time, wall time and the seconds between them."""
        clock = self.sandbox.clock
        return web.json_response({
            "now": clock.now().isoformat(),
            "wall": clock.wall_now().isoformat(),
            "offset_seconds": clock.offset.total_seconds(),
        })  # fmt: skip

    async def advance(self, http: web.Request) -> web.Response:
        """Advance billing time: `{"advance_seconds": n}` or `{"to": "2027-01-31T00:00:00Z"}`."""
        body = await http.json()
        try:
            if "to" in body:
                await self.sandbox.advance(to=datetime.fromisoformat(body["to"]))
            else:
                await self.sandbox.advance(timedelta(seconds=body["advance_seconds"]))
        except (KeyError, TypeError, ValueError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return await self.clock(http)

    async def faults(self, _http: web.Request) -> web.Response:
        """Answer the pending faults; those without `times` last until they end or are cleared."""
        pending = [{"method": f.method, "path": f.path.pattern, "kind": f.kind,
                    "times": f.remaining} for f in self.sandbox.faults.pending]  # fmt: skip
        return web.json_response({"faults": pending})

    async def add_fault(self, http: web.Request) -> web.Response:
        """Add a fault: `{"method", "path", "kind", "times", "until", …}`, as `Faults.add` says."""
        body = await http.json()
        try:
            for name in ("since", "until"):
                if name in body:
                    body[name] = datetime.fromisoformat(body[name])
            self.sandbox.faults.add(
                body.pop("method", "*"), body.pop("path"), body.pop("kind"),
                body.pop("times", None), **body,
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return await self.faults(http)

    async def clear_faults(self, http: web.Request) -> web.Response:
        """Remove all pending faults."""
        self.sandbox.faults.clear()
        return await self.faults(http)

    async def deliveries(self, _http: web.Request) -> web.Response:
        """Answer the queued deliveries."""
        return web.json_response({"pending": webhook_deliveries.queued(self.sandbox.account)})

    async def flush(self, _http: web.Request) -> web.Response:
        """Send all deliveries that are due."""
        return web.json_response({"sent": await self.sandbox.deliver_pending(concurrency=8)})

    async def redeliver(self, http: web.Request) -> web.Response:
        """Queue an event once more: `{"event": "evt_…"}`."""
        body = await http.json()
        if self.sandbox.account.store.get("event", body.get("event")) is None:
            return web.json_response({"error": "no such event"}, status=404)
        self.sandbox.redeliver(body["event"])
        return await self.deliveries(http)

    async def requests(self, _http: web.Request) -> web.Response:
        """Answer how often each endpoint was called, and which permissions that needed."""
        counts = Counter(
            f"{r.method} {path_template(r.method, r.path)}" for r in self.sandbox.requests
        )
        needed = {p for r in self.sandbox.requests for p in (r.permission, *r.expand_permissions)}
        return web.json_response(
            {"requests": dict(counts.most_common()), "permissions": sorted(needed - {""})}
        )

    async def keys(self, _http: web.Request) -> web.Response:
        """Answer the API keys, masked, with their scopes; a key without scopes may do all."""
        listed = api_keys.listed(self.sandbox.account)
        return web.json_response(
            {"keys": [{**asdict(key), "secret": key.masked} for key in listed]}
        )

    async def save(self, http: web.Request) -> web.Response:
        """Save the sandbox to a file: `{"path": "…"}`."""
        body = await http.json()
        self.sandbox.save(body["path"])
        return web.json_response({"saved": body["path"]})

    async def perform(self, http: web.Request) -> web.Response:
        """Simulate an action with the body as its arguments, and answer what it returned.

        `/_control/do/fail_card` with `{"payment_method_id": "pm_…", "code": "lost_card"}`.
        """
        action = http.match_info["action"]
        if action not in SIMULATED_ACTIONS:
            return web.json_response(
                {"error": f"one of {', '.join(sorted(SIMULATED_ACTIONS))}"}, status=404
            )
        try:
            result = getattr(self.sandbox, action)(**await http.json())
        except (KeyError, TypeError, ValueError, ApiError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response({"done": result})

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
        policy = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'"
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
