"""Stripe's routes: which verb answers which method and path.

A verb takes a Call and returns the object to show. Resources that are only read need no verb of
their own: `resource` gives them their list and their retrieve.
"""

from collections.abc import Callable
from dataclasses import dataclass

from payments.sandbox import listing
from payments.sandbox.account import StripeAccount
from payments.sandbox.errors import not_found
from payments.sandbox.form_encoding import JsonObject


@dataclass(frozen=True)
class Call:
    """One request to the API, decoded."""

    account: StripeAccount
    path: str
    params: JsonObject
    ids: tuple[str, ...]
    uses_pinned_version: (
        bool  # it names the pinned API version, so what that version removed is refused
    )

    @property
    def id(self) -> str:
        return self.ids[0]

    def get_object(self, kind: str) -> JsonObject:
        """The object the path names."""
        row = self.account.store.get(kind, self.id)
        if row is None:
            raise not_found(kind, self.id)
        return row


RouteHandler = Callable[[Call], JsonObject]

_ROUTES: dict[tuple[str, int], list[tuple[list[str], RouteHandler]]] = {}


def route(method: str, template: str) -> Callable[[RouteHandler], RouteHandler]:
    """Answer a method and path, in place of what answered before; `{}` stands for an id."""
    parts = template.strip("/").split("/")

    def register(verb: RouteHandler) -> RouteHandler:
        entries = _ROUTES.setdefault((method, len(parts)), [])
        entries[:] = [(known, other) for known, other in entries if known != parts]
        entries.append((parts, verb))
        entries.sort(key=lambda entry: entry[0].count("{}"))
        return verb

    return register


def match(method: str, path: str) -> tuple[RouteHandler, tuple[str, ...]] | None:
    """The verb for a request and the ids in its path."""
    given = path.strip("/").split("/")
    for parts, verb in _ROUTES.get((method, len(given)), ()):
        if all(part in ("{}", word) for part, word in zip(parts, given, strict=True)):
            ids = (word for part, word in zip(parts, given, strict=True) if part == "{}")
            return verb, tuple(ids)
    return None


def path_template(method: str, path: str) -> str:
    """The route a path belongs to, its ids left out."""
    given = path.strip("/").split("/")
    for parts, _ in _ROUTES.get((method, len(given)), ()):
        if all(part in ("{}", word) for part, word in zip(parts, given, strict=True)):
            return "/" + "/".join(parts)
    return path


def add_retrieve_route(kind: str, path: str) -> None:
    """Let a kind of object be retrieved."""

    def retrieve(call: Call) -> JsonObject:
        return call.get_object(kind)

    route("GET", f"{path}/{{}}")(retrieve)


def add_list_and_retrieve_routes(
    kind: str, path: str, filters: listing.Filters | None = None
) -> None:
    """Let a kind of object be listed and retrieved."""

    def list_all(call: Call) -> JsonObject:
        return listing.page(call.account.store, kind, path, call.params, filters)

    add_retrieve_route(kind, path)
    route("GET", path)(list_all)
