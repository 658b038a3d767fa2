"""One Stripe account: its objects, its clock, what is due, and the events it tells of.

Every noun's verbs take the account first. An event is a snapshot: the object is encoded at the
moment it happens, so later changes never reach it. Events are kept for thirty days.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Final

import msgspec

from payments.sandbox.clock import BillingClock, Task, TaskQueue
from payments.sandbox.form_encoding import JsonObject, JsonValue
from payments.sandbox.store import Store

API_VERSION: Final = "2026-10-28.endive"
MERCHANT: Final = "Newsroom"
EVENT_RETENTION: Final = timedelta(days=30)
WEBHOOK_ENDPOINT: Final = "webhook_endpoint"

TaskHandler = Callable[["StripeAccount", str], None]
TASK_HANDLERS: dict[str, TaskHandler] = {}

_PRUNE_EVERY = 512


def when_due(name: str) -> Callable[[TaskHandler], TaskHandler]:
    """Register what runs when an item of this name falls due."""

    def register(verb: TaskHandler) -> TaskHandler:
        TASK_HANDLERS[name] = verb
        return verb

    return register


STATUSES_AFTER_RETRIES: Final = ("canceled", "unpaid", "past_due", "paused")


@dataclass
class BillingSettings:
    """How subscriptions are collected: what the account's owner sets in the dashboard."""

    retry_days: tuple[int, ...] = (1, 2, 4, 6, 8, 10, 12, 14)  # after the first failure
    status_after_retries: str = "canceled"  # one of END_STATES
    upcoming_days: int = 7  # how long before a renewal it is announced
    waits_for_webhooks: bool = False  # drafts wait for invoice.created to arrive, 72 h at most

    def __post_init__(self) -> None:
        self.retry_days = tuple(self.retry_days)  # JSON has no tuples
        if self.status_after_retries not in STATUSES_AFTER_RETRIES:
            raise ValueError(f"after_retries is one of {', '.join(STATUSES_AFTER_RETRIES)}")


class StripeAccount:
    """The state of one Stripe account."""

    def __init__(self, clock: BillingClock, *, seed: int = 0, capture_delay: timedelta) -> None:
        self.clock = clock
        self.billing = BillingSettings()
        self.store = Store(seed)
        self.billing_tasks = TaskQueue()  # on billing time
        self.wall_tasks = TaskQueue()  # on the wall
        self.capture_delay = capture_delay
        self.base_url = ""
        self.current_request: JsonObject = {"id": None, "idempotency_key": None}
        self.state: JsonObject = {}
        self.on_event: Callable[[JsonObject], None] = lambda event: None  # noqa: ARG005 - until someone listens
        self._pruned = 0

    # -- objects ------------------------------------------------------------------------------

    def create_object(
        self, prefix: str, object_name: str, fields: JsonObject, *, id_length: int = 24
    ) -> JsonObject:
        """A new object of this kind, made now."""
        row: JsonObject = {
            "id": self.store.new_id(prefix, id_length),
            "object": object_name,
            "created": self.clock.timestamp(),
            "livemode": False,
        }
        row |= fields
        return self.store.add(row)

    def set_fields(self, row: JsonObject, **fields: JsonValue) -> JsonObject:
        """Set fields and return what was there before, as `previous_attributes` has it."""
        previous = _previous_attributes(row, fields)
        row.update(fields)
        return previous

    def update_and_emit(self, row: JsonObject, event_type: str, **fields: JsonValue) -> None:
        """Set fields and tell of it, if anything changed."""
        previous = self.set_fields(row, **fields)
        if previous:
            self.emit(event_type, row, previous)

    # -- time ---------------------------------------------------------------------------------

    def schedule_in(self, delay: timedelta, task: str, object_id: str) -> None:
        self.schedule_at(self.clock.now().timestamp() + delay.total_seconds(), task, object_id)

    def schedule_at(self, timestamp: float, task: str, object_id: str) -> None:
        """Have a verb run at a moment of billing time."""
        self.billing_tasks.add(timestamp, task, object_id)

    def pop_due_task(self, until: float) -> Task | None:
        """Take the next item due by a moment of billing time, or by the wall as it is now."""
        closing = self.wall_tasks.next_due_at()
        if closing is not None and closing <= self.clock.wall_now().timestamp():
            item = self.wall_tasks.pop()
            return item._replace(due_at=item.due_at + self.clock.offset.total_seconds())
        due = self.billing_tasks.next_due_at()
        return self.billing_tasks.pop() if due is not None and due <= until else None

    def run_task(self, item: Task) -> None:
        """Carry out an item as of the moment it was due."""
        self.clock.freeze_at(item.due_at)
        try:
            TASK_HANDLERS[item.name](self, item.object_id)
        finally:
            self.clock.unfreeze()

    # -- events -------------------------------------------------------------------------------

    def emit(
        self, event_type: str, row: JsonObject, previous: JsonObject | None = None
    ) -> JsonObject:
        """Tell of something that happened to an object, as it is now."""
        data: JsonObject = {"object": msgspec.Raw(msgspec.json.encode(row))}
        if previous is not None:
            data["previous_attributes"] = previous
        event = self.create_object(
            "evt",
            "event",
            {
                "api_version": API_VERSION,
                "data": data,
                "pending_webhooks": 0,
                "request": dict(self.current_request),
                "type": event_type,
            },
        )
        self.on_event(event)
        if self.store.minted % _PRUNE_EVERY == 0:
            self.purge_expired_events()
        return event

    def purge_expired_events(self) -> None:
        ids = self.store.kinds.get("event", [])
        oldest = self.clock.timestamp() - int(EVENT_RETENTION.total_seconds())
        while self._pruned < len(ids):
            event = self.store.objects.get(ids[self._pruned])
            if event is not None and event["created"] >= oldest:
                return
            if event is not None:
                self.store.remove(event["id"])
            self._pruned += 1

    # -- saving -------------------------------------------------------------------------------

    def dump(self) -> JsonObject:
        return {
            "store": self.store.dump(),
            "agenda": self.billing_tasks.tasks,
            "closings": self.wall_tasks.tasks,
            "offset": self.clock.offset.total_seconds(),
            "facts": self.state,
            "billing": asdict(self.billing),
            "pruned": self._pruned,
        }

    def restore(self, saved: JsonObject) -> None:
        self.store.restore(saved["store"])
        self.billing_tasks.restore([Task(*item) for item in saved["agenda"]])
        self.wall_tasks.restore([Task(*item) for item in saved["closings"]])
        self.clock.offset = timedelta(seconds=saved["offset"])
        self.state = saved["facts"]
        self.billing = BillingSettings(**saved["billing"])
        self._pruned = saved["pruned"]


def _previous_attributes(before: JsonObject, after: JsonObject) -> JsonObject:
    """What was there before: of objects only the parts that differ, of arrays the whole."""
    previous: JsonObject = {}
    for name, value in after.items():
        old = before.get(name)
        if old == value:
            continue
        if isinstance(old, dict) and isinstance(value, dict):
            gone = {key: old[key] for key in old.keys() - value.keys()}
            previous[name] = {**gone, **_previous_attributes(old, value)}
        else:
            previous[name] = old
    return previous
