"""One Stripe account: its objects, clock, scheduled tasks and events.

Functions of the other modules take the account first. An event is a snapshot: the object is encoded
when the event is emitted, so later changes never reach it. Events are retained for thirty days.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Final

import msgspec

from payments.sandbox.clock import BillingClock, Task, TaskQueue
from payments.sandbox.errors import DECLINED, ApiError
from payments.sandbox.form_encoding import JsonObject, JsonValue
from payments.sandbox.store import Store

API_VERSION: Final = "2026-10-28.endive"
MERCHANT: Final = "Example Shop"
EVENT_RETENTION: Final = timedelta(days=30)
WEBHOOK_ENDPOINT: Final = "webhook_endpoint"

TaskHandler = Callable[["StripeAccount", str], None]
TASK_HANDLERS: dict[str, TaskHandler] = {}

_PURGE_EVERY_IDS = 512  # how many ids are made between two purges of expired events


def when_due(name: str) -> Callable[[TaskHandler], TaskHandler]:
    """Register the decorated function as the handler of the task of this name."""

    def register(handler: TaskHandler) -> TaskHandler:
        TASK_HANDLERS[name] = handler
        return handler

    return register


STATUSES_AFTER_RETRIES: Final = ("canceled", "unpaid", "past_due", "paused")


@dataclass
class BillingSettings:
    """How subscriptions are collected, as the account owner sets it in the dashboard.

    Raises ValueError for an unknown `status_after_retries`.
    """

    retry_days: tuple[int, ...] = (1, 2, 4, 6, 8, 10, 12, 14)  # after the first failure
    status_after_retries: str = "canceled"  # one of STATUSES_AFTER_RETRIES
    upcoming_days: int = 7  # how long before a renewal `invoice.upcoming` is emitted
    waits_for_webhooks: bool = False  # drafts wait for invoice.created to arrive, 72 h at most

    def __post_init__(self) -> None:
        self.retry_days = tuple(self.retry_days)  # JSON has no tuples
        if self.status_after_retries not in STATUSES_AFTER_RETRIES:
            raise ValueError(f"status_after_retries is one of {', '.join(STATUSES_AFTER_RETRIES)}")


class StripeAccount:
    """The state of one Stripe account."""

    def __init__(self, clock: BillingClock, *, seed: int = 0, capture_delay: timedelta) -> None:
        self.clock = clock
        self.billing = BillingSettings()
        self.store = Store(seed)
        self.billing_tasks = TaskQueue()  # due on billing time
        self.wall_tasks = TaskQueue()  # due on the wall clock
        self.capture_delay = capture_delay
        self.base_url = ""
        self.current_request: JsonObject = {"id": None, "idempotency_key": None}
        self.state: JsonObject = {}  # settings and counts; each key belongs to a module
        self.on_event: Callable[[JsonObject], None] = lambda event: None  # noqa: ARG005 - until someone listens
        self._unpublished: list[JsonObject] | None = None  # the events of a block all or nothing
        self._purged_count = 0  # how many of the oldest event ids have been purged

    # -- objects ------------------------------------------------------------------------------

    def create_object(
        self, prefix: str, object_name: str, fields: JsonObject, *, id_length: int = 24
    ) -> JsonObject:
        """Create and store an object of this kind, created at the present billing time."""
        row: JsonObject = {
            "id": self.store.new_id(prefix, id_length),
            "object": object_name,
            "created": self.clock.timestamp(),
            "livemode": False,
        }
        row |= fields
        return self.store.add(row)

    def set_fields(self, row: JsonObject, **fields: JsonValue) -> JsonObject:
        """Set fields. Returns their previous values in the form of `previous_attributes`."""
        previous = _previous_attributes(row, fields)
        row.update(fields)
        return previous

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """Undo what the block has created when it refuses; events are published after it.

        An ApiError of status 402 undoes nothing: a declined payment stays. Fields of objects that
        were there before are not restored: handlers check before they change.
        """
        self.store.keep_journal()
        self._unpublished = []
        try:
            yield
        except ApiError as refusal:
            if refusal.status != DECLINED:
                self._unpublished = []
                dropped = self.store.drop_added()
                self.billing_tasks.drop(dropped)
                self.wall_tasks.drop(dropped)
            raise
        finally:
            self.store.forget_journal()
            events, self._unpublished = self._unpublished or [], None
            for event in events:
                self.on_event(event)

    def update_and_emit(self, row: JsonObject, event_type: str, **fields: JsonValue) -> None:
        """Set fields, and emit an event if any of them changed."""
        previous = self.set_fields(row, **fields)
        if previous:
            self.emit(event_type, row, previous)

    # -- time ---------------------------------------------------------------------------------

    def schedule_in(self, delay: timedelta, task: str, object_id: str) -> None:
        """Schedule a task for an object, a delay after the present billing time."""
        self.schedule_at(self.clock.now().timestamp() + delay.total_seconds(), task, object_id)

    def schedule_at(self, timestamp: float, task: str, object_id: str) -> None:
        """Schedule a task for an object at a Unix time of billing time."""
        self.billing_tasks.add(timestamp, task, object_id)

    def pop_due_task(self, until: float) -> Task | None:
        """Pop the next task due by the present wall time, or by `until` in billing time.

        Its `due_at` is in billing time. Returns None when nothing is due.
        """
        wall_due_at = self.wall_tasks.next_due_at()
        if wall_due_at is not None and wall_due_at <= self.clock.wall_now().timestamp():
            task = self.wall_tasks.pop()
            return task._replace(due_at=task.due_at + self.clock.offset.total_seconds())
        billing_due_at = self.billing_tasks.next_due_at()
        if billing_due_at is None or billing_due_at > until:
            return None
        return self.billing_tasks.pop()

    def run_task(self, task: Task) -> None:
        """Run a task with billing time frozen at the moment it was due."""
        self.clock.freeze_at(task.due_at)
        try:
            TASK_HANDLERS[task.name](self, task.object_id)
        finally:
            self.clock.unfreeze()

    # -- events -------------------------------------------------------------------------------

    def emit(
        self, event_type: str, row: JsonObject, previous: JsonObject | None = None
    ) -> JsonObject:
        """Create and publish an event about an object as it is now. Returns the event."""
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
        if self._unpublished is None:
            self.on_event(event)
        else:
            self._unpublished.append(event)
        if self.store.minted % _PURGE_EVERY_IDS == 0:
            self.purge_expired_events()
        return event

    def purge_expired_events(self) -> None:
        """Remove events older than EVENT_RETENTION."""
        ids = self.store.kinds.get("event", [])
        oldest = self.clock.timestamp() - int(EVENT_RETENTION.total_seconds())
        while self._purged_count < len(ids):
            event = self.store.objects.get(ids[self._purged_count])
            if event is not None and event["created"] >= oldest:
                return
            if event is not None:
                self.store.remove(event["id"])
            self._purged_count += 1

    # -- saving -------------------------------------------------------------------------------

    def dump(self) -> JsonObject:
        """Return everything about the account as JSON."""
        return {
            "store": self.store.dump(),
            "billing_tasks": self.billing_tasks.tasks,
            "wall_tasks": self.wall_tasks.tasks,
            "offset_seconds": self.clock.offset.total_seconds(),
            "state": self.state,
            "base_url": self.base_url,
            "billing": asdict(self.billing),
            "purged_count": self._purged_count,
        }

    def restore(self, saved: JsonObject) -> None:
        """Replace everything about the account with what `dump` returned."""
        self.store.restore(saved["store"])
        self.billing_tasks.restore([Task(*fields) for fields in saved["billing_tasks"]])
        self.wall_tasks.restore([Task(*fields) for fields in saved["wall_tasks"]])
        self.clock.offset = timedelta(seconds=saved["offset_seconds"])
        self.state = saved["state"]
        self.base_url = saved["base_url"]
        self.billing = BillingSettings(**saved["billing"])
        self._purged_count = saved["purged_count"]


def _previous_attributes(before: JsonObject, after: JsonObject) -> JsonObject:
    """Return the values that change: of an object only the keys that differ, of an array all."""
    previous: JsonObject = {}
    for name, value in after.items():
        old = before.get(name)
        if old == value:
            continue
        if isinstance(old, dict) and isinstance(value, dict):
            removed = {key: old[key] for key in old.keys() - value.keys()}
            previous[name] = {**removed, **_previous_attributes(old, value)}
        else:
            previous[name] = old
    return previous
