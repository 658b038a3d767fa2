"""Stripe's routes: which verb answers which method and path.

A verb takes a Call and returns the object to show. Resources that are only read need no verb of
their own: `resource` gives them their list and their retrieve.
"""

from collections.abc import Callable
from dataclasses import dataclass

from payments.sandbox import listing
from payments.sandbox.account import Account
from payments.sandbox.errors import not_found
from payments.sandbox.wire import Obj


@dataclass(frozen=True)
class Call:
    """One request to the API, decoded."""

    account: Account
    path: str
    params: Obj
    ids: tuple[str, ...]
    pinned: bool  # it names the pinned API version, so what that version removed is refused

    @property
    def id(self) -> str:
        return self.ids[0]

    def subject(self, kind: str) -> Obj:
        """The object the path names."""
        row = self.account.store.find(kind, self.id)
        if row is None:
            raise not_found(kind, self.id)
        return row


Verb = Callable[[Call], Obj]

_TABLE: dict[tuple[str, int], list[tuple[list[str], Verb]]] = {}


def route(method: str, template: str) -> Callable[[Verb], Verb]:
    """Answer a method and path, in place of what answered before; `{}` stands for an id."""
    parts = template.strip("/").split("/")

    def register(verb: Verb) -> Verb:
        entries = _TABLE.setdefault((method, len(parts)), [])
        entries[:] = [(known, other) for known, other in entries if known != parts]
        entries.append((parts, verb))
        entries.sort(key=lambda entry: entry[0].count("{}"))
        return verb

    return register


def match(method: str, path: str) -> tuple[Verb, tuple[str, ...]] | None:
    """The verb for a request and the ids in its path."""
    given = path.strip("/").split("/")
    for parts, verb in _TABLE.get((method, len(given)), ()):
        if all(part in ("{}", word) for part, word in zip(parts, given, strict=True)):
            ids = (word for part, word in zip(parts, given, strict=True) if part == "{}")
            return verb, tuple(ids)
    return None


def template_of(method: str, path: str) -> str:
    """The route a path belongs to, its ids left out."""
    given = path.strip("/").split("/")
    for parts, _ in _TABLE.get((method, len(given)), ()):
        if all(part in ("{}", word) for part, word in zip(parts, given, strict=True)):
            return "/" + "/".join(parts)
    return path


def retrieved(kind: str, path: str) -> None:
    """Let a kind of object be retrieved."""

    def retrieve(call: Call) -> Obj:
        return call.subject(kind)

    route("GET", f"{path}/{{}}")(retrieve)


def resource(kind: str, path: str, filters: listing.Filters | None = None) -> None:
    """Let a kind of object be listed and retrieved."""

    def list_all(call: Call) -> Obj:
        return listing.page(call.account.store, kind, path, call.params, filters)

    retrieved(kind, path)
    route("GET", path)(list_all)
