"""The API's routes: which handler answers which method and path, and the parameters it reads.

A handler takes a Call and returns the response's object. A parameter that a route does not declare
is refused before its handler runs. Resources that are only read need no handlers of their own:
add_list_and_retrieve_routes adds them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from payments.sandbox import declared_params, listing
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


@dataclass(frozen=True)
class Route:
    """The handler of a method and a path template, and the leaf parameters that it reads."""

    method: str
    parts: tuple[str, ...]
    handler: RouteHandler
    reads: frozenset[str]

    @property
    def template(self) -> str:
        """Its path, with `{}` in place of an id."""
        return "/" + "/".join(self.parts)

    def ids_in(self, path: str) -> tuple[str, ...]:
        """Return the ids in a path that it matches."""
        segments = zip(self.parts, path.strip("/").split("/"), strict=True)
        return tuple(segment for part, segment in segments if part == "{}")


_ROUTES: dict[tuple[str, int], list[Route]] = {}


def route(
    method: str, template: str, *, reads: Iterable[str] = ()
) -> Callable[[RouteHandler], RouteHandler]:
    """Register the handler of a method and path, replacing any other; `{}` stands for an id.

    `reads` are the leaf parameters it reads, such as `items[].price_data.unit_amount`; a map such
    as `metadata` is one leaf. `expand` is read for every route.
    """
    parts = tuple(template.strip("/").split("/"))

    def register(handler: RouteHandler) -> RouteHandler:
        entry = Route(method, parts, handler, frozenset(reads) | {declared_params.EXPAND})
        entries = _ROUTES.setdefault((method, len(parts)), [])
        entries[:] = [other for other in entries if other.parts != parts]
        entries.append(entry)
        entries.sort(key=lambda each: each.parts.count("{}"))
        return handler

    return register


def all_routes() -> list[Route]:
    """Return every route, sorted by template and method."""
    every = [entry for entries in _ROUTES.values() for entry in entries]
    return sorted(every, key=lambda each: (each.template, each.method))


def find(method: str, path: str) -> Route | None:
    """Return the route of a request, or None."""
    segments = path.strip("/").split("/")
    for entry in _ROUTES.get((method, len(segments)), ()):
        if all(part in ("{}", each) for part, each in zip(entry.parts, segments, strict=True)):
            return entry
    return None


def path_template(method: str, path: str) -> str:
    """Return the template of a request's route, or the path itself when there is no route."""
    entry = find(method, path)
    return path if entry is None else entry.template


def templates() -> list[tuple[str, str]]:
    """Return the method and template of every route, sorted by template."""
    return [(entry.method, entry.template) for entry in all_routes()]


def add_retrieve_route(kind: str, path: str) -> None:
    """Add `GET {path}/{id}` for the objects of a name."""

    def retrieve(call: Call) -> JsonObject:
        return call.get_object(kind)

    route("GET", f"{path}/{{}}")(retrieve)


def add_list_and_retrieve_routes(
    kind: str, path: str, filters: listing.Filters | None = None, *, by_created: bool = True
) -> None:
    """Add `GET {path}` and `GET {path}/{id}` for the objects of a name.

    Of some kinds Stripe's lists take no `created`.
    """

    def list_all(call: Call) -> JsonObject:
        return listing.page(call.account.store, kind, path, call.params, filters)

    add_retrieve_route(kind, path)
    route("GET", path, reads=listing.reads(filters, by_created=by_created))(list_all)
