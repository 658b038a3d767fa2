"""The pages of outgoing events: where they go, the log of what was sent, and sending again.

An address is shown as its host alone, and a secret once, when it is made.
"""

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Any

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect
from sqlalchemy.ext.asyncio import AsyncSession

from payments.core.errors import InvalidField, NotFound
from payments.infra.audit_log import AuditAction
from payments.infra.context import Context
from payments.infra.outgoing_events import endpoints, payloads, replays
from payments.infra.outgoing_events.delivery import RETENTION
from payments.infra.outgoing_events.tables import (
    DeliveryState,
    DisabledReason,
    EventDelivery,
    EventEndpoint,
    EventKind,
    OutgoingEvent,
    Problem,
)
from payments.staff.accounts import Staff, record_action
from payments.web.account import view_models
from payments.web.finance.tables import EMPTY_CELL, Cell, Table, table
from payments.web.forms import SMALL_FORM_BYTES, AnyRequest, form_data, parse_count
from payments.web.staff import layout
from payments.web.staff.guards import StepUp

EVENTS_URL = "/finance/events"
PAGE_SIZE, MAX_PAGE = 50, 10_000
KIND_LABELS = {
    EventKind.CONTRIBUTION_PAID: "A payment came",
    EventKind.CONTRIBUTION_REFUNDED: "A payment was refunded",
    EventKind.CONTRIBUTION_DISPUTED: "A bank disputes a payment",
    EventKind.SUBSCRIPTION_STARTED: "A recurring contribution began",
    EventKind.SUBSCRIPTION_CHANGED: "Its amount or frequency changed, or it was paused or resumed",
    EventKind.SUBSCRIPTION_FAILED: "Its payment failed",
    EventKind.SUBSCRIPTION_RECOVERED: "A failed payment is settled",
    EventKind.SUBSCRIPTION_ENDED: "A recurring contribution ended",
    EventKind.PAYOUT_PAID: "A payout reached the bank",
    EventKind.PERIOD_CLOSED: "A month was closed",
    EventKind.ENDPOINT_TEST: "A test",
}
STATE_LABELS = {
    DeliveryState.WAITING: "Waits",
    DeliveryState.DELIVERED: "Taken",
    DeliveryState.GIVEN_UP: "Given up",
}
PROBLEM_LABELS = {
    Problem.ADDRESS_REFUSED: "its address is not a public one",
    Problem.UNREACHABLE: "not reachable",
    Problem.TIMED_OUT: "no answer in time",
    Problem.TLS: "its certificate is not valid",
    Problem.GARBAGE: "what it answers is no HTTP",
    Problem.REDIRECTED: "it redirects, which is not followed",
    Problem.STATUS: "refused",
}
DISABLED_LABELS = {
    DisabledReason.BY_COLLEAGUE: "Off since {at}: a colleague turned it off",
    DisabledReason.FAILING: "Off since {at}: it had taken nothing for three days",
    DisabledReason.GONE: "Off since {at}: it answered that it wants no more (410)",
    DisabledReason.UNREADABLE: "Off since {at}: no secret key of today reads its address",
}
DONE = {
    "changed": "The endpoint is changed.",
    "test": "A test is on its way. Reload in a moment: the log says what came of it.",
    "off": "It is off. What happens meanwhile waits for it, 14 days at most.",
    "on": "It is on. What waited for it is sent now.",
    "replayed": "They are sent again, under the same ids.",
    "none": "Nothing of what it asks for happened on these days.",
    "deleted": "The endpoint is deleted, with its log.",
}


class EventEndpointPages(Controller):
    """Endpoints and their log."""

    path = EVENTS_URL
    include_in_schema = False

    @get()
    async def show(
        self, ctx: NamedDependency[Context], request: AnyRequest, colleague: NamedDependency[Staff]
    ) -> Response[str]:
        """Show every endpoint, and the form that adds one."""
        return await _render_list(ctx, colleague, done=request.query_params.get("done", ""))

    @post(request_max_body_size=SMALL_FORM_BYTES, guards=[StepUp(form_url=EVENTS_URL)])
    async def create(
        self, ctx: NamedDependency[Context], request: AnyRequest, colleague: NamedDependency[Staff]
    ) -> Response[str]:
        """Add an endpoint, and show its secret once."""
        fields = await form_data(request)
        try:
            url = await endpoints.save_url(ctx.settings, fields.get("url", ""))
            async with ctx.sessions.begin() as session:
                endpoint, secret = await endpoints.create(
                    session,
                    ctx.settings,
                    name=fields.get("name", ""),
                    url=url,
                    kinds=_chosen(fields),
                    now=ctx.now(),
                )
                await _record(
                    ctx, session, AuditAction.EVENT_ENDPOINT_CREATED, colleague, endpoint.id
                )
        except InvalidField as error:
            return await _render_list(ctx, colleague, fields=fields, error=error)
        return await _render_one(ctx, colleague, endpoint.id, secret=secret)

    @get("/{endpoint_id:str}")
    async def show_one(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
        endpoint_id: FromPath[str],
    ) -> Response[str]:
        """Show an endpoint and the log of what was sent to it."""
        return await _render_one(ctx, colleague, endpoint_id, query=request.query_params)

    @post(
        "/{endpoint_id:str}/{act:str}",
        request_max_body_size=SMALL_FORM_BYTES,
        guards=[StepUp(form_url=f"{EVENTS_URL}/{{endpoint_id}}")],
    )
    async def change(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
        endpoint_id: FromPath[str],
        act: FromPath[str],
    ) -> Response[Any]:
        """Do what a button says: change, secret, test, off, on, replay or delete."""
        fields = await form_data(request)
        try:
            done, secret = await _act(ctx, colleague, endpoint_id, act, fields)
        except InvalidField as error:
            return await _render_one(ctx, colleague, endpoint_id, fields=fields, error=error)
        if secret:
            return await _render_one(ctx, colleague, endpoint_id, secret=secret)
        page = EVENTS_URL if done == "deleted" else f"{EVENTS_URL}/{endpoint_id}"
        return Redirect(f"{page}?done={done}", status_code=303)


async def _act(
    ctx: Context, colleague: Staff, endpoint_id: str, act: str, fields: Mapping[str, str]
) -> tuple[str, str]:
    """Do one thing to an endpoint. Returns what was done, and its secret, if that is new.

    Raises InvalidField, NotFound.
    """
    now, secret, done = ctx.now(), "", act
    url = fields.get("url", "").strip() if act == "change" else ""
    if url:
        url = await endpoints.save_url(ctx.settings, url)
    action = AuditAction.EVENT_ENDPOINT_CHANGED
    async with ctx.sessions.begin() as session:
        endpoint = await endpoints.get(session, endpoint_id, lock=True)
        match act:
            case "change":
                name, kinds = fields.get("name", ""), _chosen(fields)
                secret = endpoints.change(ctx.settings, endpoint, name=name, url=url, kinds=kinds)
                done = "changed"
            case "secret":
                secret = endpoints.rotate_secret(ctx.settings, endpoint, now=now)
            case "test":
                await replays.send_test(session, endpoint, now=now)
                action = AuditAction.EVENTS_REPLAYED
            case "off":
                await endpoints.disable(session, endpoint, DisabledReason.BY_COLLEAGUE, now=now)
            case "on":
                await endpoints.enable(session, endpoint, now=now)
            case "replay":
                done = "replayed" if await _replay(ctx, session, endpoint, fields) else "none"
                action = AuditAction.EVENTS_REPLAYED
            case "delete":
                await endpoints.delete(session, endpoint, now=now)
                action, done = AuditAction.EVENT_ENDPOINT_DELETED, "deleted"
            case _:
                raise NotFound("There is no such page.")
        await _record(ctx, session, action, colleague, endpoint_id, reason=act)
    return done, secret


async def _record(
    ctx: Context,
    session: AsyncSession,
    action: AuditAction,
    colleague: Staff,
    endpoint_id: str,
    reason: str = "",
) -> None:
    await record_action(
        session, action, colleague, object_id=endpoint_id, reason=reason, now=ctx.now()
    )


async def _replay(
    ctx: Context, session: AsyncSession, endpoint: EventEndpoint, fields: Mapping[str, str]
) -> int:
    """Send one event again, or those of some days, the last included. Returns how many."""
    if event := fields.get("event", "").strip():
        try:
            await replays.replay(session, endpoint, event.removeprefix("evt_"), now=ctx.now())
        except NotFound as error:
            raise InvalidField(error.detail, field="event") from None
        return 1
    since = _day(fields.get("since", ""), "since")
    day_after = _day(fields.get("last", ""), "last", days_after=1)
    zone = ctx.settings.accounting_zoneinfo
    return await replays.replay_range(
        session,
        endpoint,
        since=datetime.combine(since, time(), zone),
        until=datetime.combine(day_after, time(), zone),
        now=ctx.now(),
    )


def _day(text: str, field: str, *, days_after: int = 0) -> date:
    try:
        return date.fromisoformat(text) + timedelta(days=days_after)
    except (ValueError, OverflowError):
        raise InvalidField(
            "Give an event's id, or two days such as 2026-11-22. Nothing was sent.", field=field
        ) from None


def _chosen(fields: Mapping[str, str]) -> list[str]:
    return [kind for kind in EventKind if fields.get(kind) == "yes"]


# --- views ----------------------------------------------------------------------------------------


async def _render_list(
    ctx: Context,
    colleague: Staff,
    *,
    fields: Mapping[str, str] | None = None,
    error: InvalidField | None = None,
    done: str = "",
) -> Response[str]:
    async with ctx.sessions() as session:
        rows = await endpoints.list_all(session)
    return layout.render(
        ctx,
        "finance_events.html",
        colleague,
        active_url=EVENTS_URL,
        status=200 if error is None else error.status,
        done=DONE.get(done, ""),
        error="" if error is None else error.detail,
        endpoints=[
            {
                "id": row.id,
                "name": row.name,
                "address": endpoints.shown_address(ctx.settings, row),
                "status": _status(ctx, row),
            }
            for row in rows
        ],
        name=(fields or {}).get("name", ""),
        address=(fields or {}).get("url", ""),
        kinds=_kind_choices(ctx, [] if fields is None else _chosen(fields)),
        has_policy=ctx.settings.safety_policy is not None,
    )


async def _render_one(
    ctx: Context,
    colleague: Staff,
    endpoint_id: str,
    *,
    fields: Mapping[str, str] | None = None,
    error: InvalidField | None = None,
    secret: str = "",
    query: Mapping[str, str] | None = None,
) -> Response[str]:
    query = query or {}
    states = {one.value: one for one in DeliveryState}
    state = query.get("state", "") if query.get("state", "") in states else ""
    page = min(parse_count(query.get("page", "")) or 0, MAX_PAGE)
    async with ctx.sessions() as session:
        endpoint = await endpoints.get(session, endpoint_id)
        found = await replays.list_deliveries(
            session,
            endpoint_id=endpoint_id,
            state=states.get(state),
            limit=PAGE_SIZE + 1,
            offset=page * PAGE_SIZE,
        )
    url = f"{EVENTS_URL}/{endpoint_id}"
    chosen = endpoint.kinds if fields is None or "name" not in fields else _chosen(fields)
    more = f"{url}?state={state}&page={page + 1}"
    return layout.render(
        ctx,
        "finance_event_endpoint.html",
        colleague,
        active_url=EVENTS_URL,
        status=200 if error is None else error.status,
        url=url,
        name=endpoint.name,
        entered=fields or {"event": query.get("event", "")},
        address=endpoints.shown_address(ctx.settings, endpoint),
        since=view_models.format_minute(ctx, endpoint.created_at),
        endpoint_status=_status(ctx, endpoint),
        is_on=endpoint.disabled_at is None,
        secret=secret,
        done=DONE.get(query.get("done", ""), ""),
        error="" if error is None else error.detail,
        kinds=_kind_choices(ctx, chosen),
        states=[("", "All"), *((one.value, label) for one, label in STATE_LABELS.items())],
        state=state,
        log=_log_table(ctx, url, found[:PAGE_SIZE]),
        older_url=more if len(found) > PAGE_SIZE else "",
        retention_days=RETENTION.days,
    )


def _kind_choices(ctx: Context, chosen: list[str]) -> list[dict[str, object]]:
    return [
        {"value": kind.value, "label": KIND_LABELS[kind], "chosen": kind.value in chosen}
        for kind in endpoints.offered_kinds(ctx.settings)
    ]


def _status(ctx: Context, row: EventEndpoint) -> str:
    """Return in words whether an endpoint takes what is sent to it."""
    if row.disabled_at is not None and row.disabled_reason is not None:
        at = view_models.format_minute(ctx, row.disabled_at)
        return DISABLED_LABELS[row.disabled_reason].format(at=at)
    if row.failing_since is not None:
        return f"Taking nothing since {view_models.format_minute(ctx, row.failing_since)}"
    return "On"


def _log_table(ctx: Context, url: str, found: list[tuple[EventDelivery, OutgoingEvent]]) -> Table:
    rows = []
    for delivery, event in found:
        name = payloads.message_id(event.id)
        state = STATE_LABELS[delivery.state]
        if delivery.next_attempt_at is not None:
            state += f" until {_minute(ctx, delivery.next_attempt_at)}"
        rows.append(
            [
                Cell(_minute(ctx, event.occurred_at)),
                Cell(KIND_LABELS[event.kind]),
                Cell(state),
                Cell(str(delivery.attempts)),
                Cell(_answer(delivery)),
                Cell(name[:12], f"{url}?event={name}#again", code=True),
            ]
        )
    columns = ["Happened", "What", "State", "#Attempts", "Last answer", "Send again"]
    caption = f"What was sent, the newest first, in {ctx.settings.accounting_zone}"
    return table("log", caption, columns, rows,
                 empty="Nothing has happened that it asks for.")  # fmt: skip


def _minute(ctx: Context, at: datetime) -> str:
    """Return a moment of these weeks in the accounting zone."""
    return f"{at.astimezone(ctx.settings.accounting_zoneinfo):%-d %b, %H:%M}"


def _answer(delivery: EventDelivery) -> str:
    status = "" if delivery.response_status is None else str(delivery.response_status)
    problem = "" if delivery.problem is None else PROBLEM_LABELS[delivery.problem]
    parts = [part for part in (status, problem, delivery.response_excerpt) if part]
    return ": ".join(parts) or EMPTY_CELL
