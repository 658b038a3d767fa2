"""Control: routes by which a test, or a person, turns the clock and makes trouble.

None of this is Stripe's. It answers JSON under `/_control/` and shows what is here at `/`.
"""

from collections import Counter
from datetime import UTC, datetime, timedelta

from aiohttp import web

from payments.sandbox import webhook_deliveries
from payments.sandbox.errors import ApiError
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.hosted_page import amount_and_interval, get_template
from payments.sandbox.routes import path_template
from payments.sandbox.sandbox import Sandbox

MAX_LISTED = 30
# What others do, and what befalls deliveries: methods of the sandbox, called by their names.
SIMULATED_ACTIONS = frozenset({
    "adjust", "charge_fee", "convert", "dashboard", "debit_bank", "decide_dispute",
    "delay_captures", "delay_reconciliation", "dispute", "escalate_dispute", "fail_card",
    "fail_payout", "fail_refund", "heal_card", "hold_reserve", "keep_minimum",
    "pay_out_weekly", "portal_sets_default", "redeliver", "release_reserve", "render_at",
    "revoke_mandate", "roll_secret", "set_billing", "set_owner", "set_rate", "tell",
    "update_card_by_network", "warn_of_fraud",
})  # fmt: skip


def add_routes(app: web.Application, sandbox: Sandbox) -> None:
    """Let the sandbox be controlled over HTTP."""
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
    app.router.add_get("/_control/requests", control.requests)
    app.router.add_post("/_control/save", control.save)
    app.router.add_post("/_control/do/{verb}", control.perform)


class ControlHandlers:
    """The sandbox's own handles, as HTTP handlers."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox

    async def health(self, _http: web.Request) -> web.Response:
        return web.json_response({"status": "ok", "problems": self.sandbox.problems})

    async def clock(self, _http: web.Request) -> web.Response:
        clock = self.sandbox.clock
        return web.json_response({
            "now": clock.now().isoformat(),
            "wall": clock.wall_now().isoformat(),
            "offset_seconds": clock.offset.total_seconds(),
        })  # fmt: skip

    async def advance(self, http: web.Request) -> web.Response:
        """`{"advance_seconds": n}` or `{"to": "2027-01-31T00:00:00Z"}`."""
        wanted = await http.json()
        try:
            if "to" in wanted:
                await self.sandbox.advance(to=datetime.fromisoformat(wanted["to"]))
            else:
                await self.sandbox.advance(timedelta(seconds=wanted["advance_seconds"]))
        except (KeyError, TypeError, ValueError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return await self.clock(http)

    async def faults(self, _http: web.Request) -> web.Response:
        waiting = self.sandbox.faults.pending
        shown = [{"method": f.method, "path": f.path.pattern, "kind": f.kind, "times": f.remaining}
                 for f in waiting]  # fmt: skip
        return web.json_response({"faults": shown})

    async def add_fault(self, http: web.Request) -> web.Response:
        """`{"method", "path", "kind", "times", …}`."""
        wanted = await http.json()
        try:
            self.sandbox.faults.add(
                wanted.pop("method", "*"), wanted.pop("path"), wanted.pop("kind"),
                wanted.pop("times", 1), **wanted,
            )  # fmt: skip
        except (KeyError, ValueError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return await self.faults(http)

    async def clear_faults(self, http: web.Request) -> web.Response:
        self.sandbox.faults.clear()
        return await self.faults(http)

    async def deliveries(self, _http: web.Request) -> web.Response:
        return web.json_response({"pending": webhook_deliveries.queued(self.sandbox.account)})

    async def flush(self, _http: web.Request) -> web.Response:
        return web.json_response({"sent": await self.sandbox.deliver_pending(concurrency=8)})

    async def redeliver(self, http: web.Request) -> web.Response:
        """`{"event": "evt_…"}`: deliver it once more."""
        wanted = await http.json()
        if self.sandbox.account.store.get("event", wanted.get("event")) is None:
            return web.json_response({"error": "no such event"}, status=404)
        self.sandbox.redeliver(wanted["event"])
        return await self.deliveries(http)

    async def requests(self, _http: web.Request) -> web.Response:
        counts = Counter(
            f"{r.method} {path_template(r.method, r.path)}" for r in self.sandbox.requests
        )
        return web.json_response({"requests": dict(counts.most_common())})

    async def save(self, http: web.Request) -> web.Response:
        """`{"path": "…"}`: write everything down."""
        wanted = await http.json()
        self.sandbox.save(wanted["path"])
        return web.json_response({"saved": wanted["path"]})

    async def perform(self, http: web.Request) -> web.Response:
        """`/_control/do/fail_card` with `{"payment_method_id": "pm_…", "code": "lost_card"}`."""
        verb = http.match_info["verb"]
        if verb not in SIMULATED_ACTIONS:
            return web.json_response(
                {"error": f"one of {', '.join(sorted(SIMULATED_ACTIONS))}"}, status=404
            )
        try:
            done = getattr(self.sandbox, verb)(**await http.json())
        except (KeyError, TypeError, ValueError, ApiError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response({"done": done})

    # -- the index ----------------------------------------------------------------------------

    async def advance_from_index(self, http: web.Request) -> web.Response:
        """The index's own form: a day or a month later."""
        days = {"day": 1, "month": 31}.get(str((await http.post()).get("by")), 0)
        await self.sandbox.advance(timedelta(days=days))
        raise web.HTTPSeeOther("/")

    async def index(self, _http: web.Request) -> web.Response:
        account = self.sandbox.account
        sessions = list(account.store.of_kind("checkout.session"))[-MAX_LISTED:][::-1]
        events = list(account.store.of_kind("event"))[-MAX_LISTED:][::-1]
        html = get_template("index.html").render(
            now=f"{self.sandbox.clock.now().astimezone(UTC):%Y-%m-%d %H:%M} UTC",
            sessions=[{**s, "words": amount_and_interval(account, s)} for s in sessions],
            events=[self._event_row(event) for event in events],
        )
        policy = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'"
        headers = {"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer"}
        return web.Response(text=html, content_type="text/html", headers=headers)

    def _event_row(self, event: JsonObject) -> JsonObject:
        created = datetime.fromtimestamp(event["created"], UTC)
        waiting = webhook_deliveries.unacknowledged_endpoints(self.sandbox.account, event["id"])
        attempts = self.sandbox.account.store.facts.get(event["id"], {}).get("attempts", [])
        told = "waiting" if waiting else "delivered" if attempts else "nobody asked"
        return {
            "id": event["id"],
            "type": event["type"],
            "at": f"{created:%Y-%m-%d %H:%M:%S}",
            "told": f"{told} ({len(attempts)} tries)" if attempts else told,
        }
