"""The API's routes: which handler answers which method and path.

A handler takes a Call and returns the response's object. Resources that are only read need no
handlers of their own: add_list_and_retrieve_routes adds them.
"""

from collections.abc import Callable
from dataclasses import dataclass

from payments.sandbox import listing
from payments.sandbox.account import StripeAccount
from payments.sandbox.errors import not_found
from payments.sandbox.form_encoding import JsonObject


@dataclass(frozen=True)
class Call:
    """A decoded request to the API."""

    account: StripeAccount
    path: str
    params: JsonObject
    ids: tuple[str, ...]
    uses_pinned_version: bool  # parameters that the pinned API version removed are refused

    @property
    def id(self) -> str:
        """The first id in the path."""
        return self.ids[0]

    def get_object(self, kind: str) -> JsonObject:
        """Return the object that the path names. Raises ApiError when there is none such."""
        row = self.account.store.get(kind, self.id)
        if row is None:
            raise not_found(kind, self.id)
        return row


RouteHandler = Callable[[Call], JsonObject]

_ROUTES: dict[tuple[str, int], list[tuple[list[str], RouteHandler]]] = {}


def route(method: str, template: str) -> Callable[[RouteHandler], RouteHandler]:
    """Register the handler of a method and path, replacing any other; `{}` stands for an id."""
    parts = template.strip("/").split("/")

    def register(handler: RouteHandler) -> RouteHandler:
        entries = _ROUTES.setdefault((method, len(parts)), [])
        entries[:] = [entry for entry in entries if entry[0] != parts]
        entries.append((parts, handler))
        entries.sort(key=lambda entry: entry[0].count("{}"))
        return handler

    return register


def match(method: str, path: str) -> tuple[RouteHandler, tuple[str, ...]] | None:
    """Return the handler of a request and the ids in its path, or None."""
    entry = _find_entry(method, path)
    if entry is None:
        return None
    parts, handler = entry
    segments = zip(parts, path.strip("/").split("/"), strict=True)
    return handler, tuple(segment for part, segment in segments if part == "{}")


def path_template(method: str, path: str) -> str:
    """Return the template of a request's route, or the path itself when there is no route."""
    entry = _find_entry(method, path)
    return path if entry is None else "/" + "/".join(entry[0])


def templates() -> list[tuple[str, str]]:
    """Return the method and template of every route, sorted by template."""
    every = [
        (method, "/" + "/".join(parts))
        for (method, _), entries in _ROUTES.items()
        for parts, _ in entries
    ]
    return sorted(every, key=lambda each: (each[1], each[0]))


def _find_entry(method: str, path: str) -> tuple[list[str], RouteHandler] | None:
    segments = path.strip("/").split("/")
    for parts, handler in _ROUTES.get((method, len(segments)), ()):
        if all(part in ("{}", segment) for part, segment in zip(parts, segments, strict=True)):
            return parts, handler
    return None


def add_retrieve_route(kind: str, path: str) -> None:
    """Add `GET {path}/{id}` for the objects of a name."""

    def retrieve(call: Call) -> JsonObject:
        return call.get_object(kind)

    route("GET", f"{path}/{{}}")(retrieve)


def add_list_and_retrieve_routes(
    kind: str, path: str, filters: listing.Filters | None = None
) -> None:
    """Add `GET {path}` and `GET {path}/{id}` for the objects of a name."""

    def list_all(call: Call) -> JsonObject:
        return listing.page(call.account.store, kind, path, call.params, filters)

    add_retrieve_route(kind, path)
    route("GET", path)(list_all)
