"""One Stripe account: its objects, its clock, what is due, and the events it tells of.

Every noun's verbs take the account first. An event is a snapshot: the object is encoded at the
moment it happens, so later changes never reach it. Events are kept for thirty days.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Final

import msgspec

from payments.sandbox.clock import Agenda, Clock, Item
from payments.sandbox.store import Store
from payments.sandbox.wire import Obj, Value

API_VERSION: Final = "2026-10-28.endive"
MERCHANT: Final = "Newsroom"
EVENTS_KEPT: Final = timedelta(days=30)
ENDPOINT: Final = "webhook_endpoint"

Verb = Callable[["Account", str], None]
VERBS: dict[str, Verb] = {}

_PRUNE_EVERY = 512


def when_due(name: str) -> Callable[[Verb], Verb]:
    """Register what runs when an item of this name falls due."""

    def register(verb: Verb) -> Verb:
        VERBS[name] = verb
        return verb

    return register


END_STATES: Final = ("canceled", "unpaid", "past_due", "paused")


@dataclass
class Billing:
    """How subscriptions are collected: what the account's owner sets in the dashboard."""

    retry_days: tuple[int, ...] = (1, 2, 4, 6, 8, 10, 12, 14)  # after the first failure
    after_retries: str = "canceled"  # one of END_STATES
    upcoming_days: int = 7  # how long before a renewal it is announced
    waits_for_webhooks: bool = False  # drafts wait for invoice.created to arrive, 72 h at most

    def __post_init__(self) -> None:
        self.retry_days = tuple(self.retry_days)  # JSON has no tuples
        if self.after_retries not in END_STATES:
            raise ValueError(f"after_retries is one of {', '.join(END_STATES)}")


class Account:
    """The state of one Stripe account."""

    def __init__(self, clock: Clock, *, seed: int = 0, capture_delay: timedelta) -> None:
        self.clock = clock
        self.billing = Billing()
        self.store = Store(seed)
        self.agenda = Agenda()  # on billing time
        self.closings = Agenda()  # on the wall
        self.capture_delay = capture_delay
        self.base_url = ""
        self.request: Obj = {"id": None, "idempotency_key": None}
        self.facts: Obj = {}
        self.on_event: Callable[[Obj], None] = lambda event: None  # noqa: ARG005 - until someone listens
        self._pruned = 0

    # -- objects ------------------------------------------------------------------------------

    def make(self, prefix: str, kind: str, fields: Obj, *, id_length: int = 24) -> Obj:
        """A new object of this kind, made now."""
        row: Obj = {
            "id": self.store.mint(prefix, id_length),
            "object": kind,
            "created": self.clock.stamp(),
            "livemode": False,
        }
        row |= fields
        return self.store.add(row)

    def change(self, row: Obj, **fields: Value) -> Obj:
        """Set fields and return what was there before, as `previous_attributes` has it."""
        previous = _differing(row, fields)
        row.update(fields)
        return previous

    def update(self, row: Obj, event_type: str, **fields: Value) -> None:
        """Set fields and tell of it, if anything changed."""
        previous = self.change(row, **fields)
        if previous:
            self.emit(event_type, row, previous)

    # -- time ---------------------------------------------------------------------------------

    def later(self, delay: timedelta, verb: str, subject: str) -> None:
        self.at(self.clock.now().timestamp() + delay.total_seconds(), verb, subject)

    def at(self, moment: float, verb: str, subject: str) -> None:
        """Have a verb run at a moment of billing time."""
        self.agenda.add(moment, verb, subject)

    def next_due(self, until: float) -> Item | None:
        """Take the next item due by a moment of billing time, or by the wall as it is now."""
        closing = self.closings.next_due()
        if closing is not None and closing <= self.clock.wall().timestamp():
            item = self.closings.pop()
            return item._replace(due=item.due + self.clock.offset.total_seconds())
        due = self.agenda.next_due()
        return self.agenda.pop() if due is not None and due <= until else None

    def run(self, item: Item) -> None:
        """Carry out an item as of the moment it was due."""
        self.clock.pin(item.due)
        try:
            VERBS[item.verb](self, item.subject)
        finally:
            self.clock.unpin()

    # -- events -------------------------------------------------------------------------------

    def emit(self, event_type: str, row: Obj, previous: Obj | None = None) -> Obj:
        """Tell of something that happened to an object, as it is now."""
        data: Obj = {"object": msgspec.Raw(msgspec.json.encode(row))}
        if previous is not None:
            data["previous_attributes"] = previous
        event = self.make(
            "evt",
            "event",
            {
                "api_version": API_VERSION,
                "data": data,
                "pending_webhooks": 0,
                "request": dict(self.request),
                "type": event_type,
            },
        )
        self.on_event(event)
        if self.store.minted % _PRUNE_EVERY == 0:
            self.forget_old_events()
        return event

    def forget_old_events(self) -> None:
        ids = self.store.kinds.get("event", [])
        oldest = self.clock.stamp() - int(EVENTS_KEPT.total_seconds())
        while self._pruned < len(ids):
            event = self.store.objects.get(ids[self._pruned])
            if event is not None and event["created"] >= oldest:
                return
            if event is not None:
                self.store.remove(event["id"])
            self._pruned += 1

    # -- saving -------------------------------------------------------------------------------

    def dump(self) -> Obj:
        return {
            "store": self.store.dump(),
            "agenda": self.agenda.items,
            "closings": self.closings.items,
            "offset": self.clock.offset.total_seconds(),
            "facts": self.facts,
            "billing": asdict(self.billing),
            "pruned": self._pruned,
        }

    def restore(self, saved: Obj) -> None:
        self.store.restore(saved["store"])
        self.agenda.restore([Item(*item) for item in saved["agenda"]])
        self.closings.restore([Item(*item) for item in saved["closings"]])
        self.clock.offset = timedelta(seconds=saved["offset"])
        self.facts = saved["facts"]
        self.billing = Billing(**saved["billing"])
        self._pruned = saved["pruned"]


def _differing(before: Obj, after: Obj) -> Obj:
    """What was there before: of objects only the parts that differ, of arrays the whole."""
    previous: Obj = {}
    for name, value in after.items():
        old = before.get(name)
        if old == value:
            continue
        if isinstance(old, dict) and isinstance(value, dict):
            gone = {key: old[key] for key in old.keys() - value.keys()}
            previous[name] = {**gone, **_differing(old, value)}
        else:
            previous[name] = old
    return previous
