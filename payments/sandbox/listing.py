"""Lists, newest first and paginated.

A list takes `limit`, `starting_after`, `ending_before`, of most kinds `created`, and the filters of
its kind, which are named by the leaf parameters they read: `lookup_keys[]`.
"""

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final

from payments.sandbox import request_params as read
from payments.sandbox.declared_params import CREATED, PAGE
from payments.sandbox.errors import invalid_request, not_found
from payments.sandbox.form_encoding import JsonObject, JsonValue
from payments.sandbox.store import Store

Predicate = Callable[[JsonObject], bool]
Filter = Callable[[JsonObject, JsonValue], bool]
Filters = dict[str, Filter]


# Parameters whose objects are found through a link rather than by reading every object
_LINK_FIELDS: Final = ("customer", "payment_intent", "subscription", "invoice", "charge", "source",
                       "payout", "session")  # fmt: skip


def equals(field: str) -> Filter:
    """Return a filter of the objects whose field has exactly the value of the parameter."""

    def matches(row: JsonObject, value: JsonValue) -> bool:
        actual = row.get(field)
        return bool((str(actual).lower() if isinstance(actual, bool) else actual) == value)

    return matches


def matches_nothing(_row: JsonObject, _value: JsonValue) -> bool:
    """Filter the objects of a collection that is empty."""
    return False


def reads(filters: Filters | None = None, *, by_created: bool = True) -> tuple[str, ...]:
    """Return the leaf parameters that a list with these filters reads."""
    return (*PAGE, *(CREATED if by_created else ()), *(filters or {}))


def list_object(rows: Iterable[JsonObject], url: str, *, has_more: bool = False) -> JsonObject:
    """Return a list object."""
    return {"object": "list", "data": list(rows), "has_more": has_more, "url": url}


def page(
    store: Store, object_name: str, url: str, params: JsonObject, filters: Filters | None = None
) -> JsonObject:
    """Return one page of the objects of a name that pass the filters."""
    limit, tests = _limit(params), _predicates(params, filters or {})
    candidates = _candidates(store, object_name, params, filters or {})
    ids, backwards = _cursor_window(store, object_name, candidates, params)
    matching = (row for row in store.existing(ids) if all(test(row) for test in tests))
    rows = list(islice(matching, limit + 1))
    data = rows[:limit]
    if backwards:
        data.reverse()
    return list_object(data, url, has_more=len(rows) > limit)


def page_of_rows(rows: list[JsonObject], url: str, params: JsonObject) -> JsonObject:
    """Return one page of rows that an object holds, in their own order."""
    limit, ids = _limit(params), [row["id"] for row in rows]
    after, before = read.text(params, "starting_after"), read.text(params, "ending_before")
    for name, cursor in (("starting_after", after), ("ending_before", before)):
        if cursor is not None and cursor not in ids:
            raise not_found(rows[0]["object"] if rows else "object", cursor, name)
    if after is not None:
        rows = rows[ids.index(after) + 1 :]
    if before is not None:
        rows = rows[: ids.index(before)]
        return list_object(rows[-limit:], url, has_more=len(rows) > limit)
    return list_object(rows[:limit], url, has_more=len(rows) > limit)


def _limit(params: JsonObject) -> int:
    limit = read.integer(params, "limit")
    limit = 10 if limit is None else limit
    if not 1 <= limit <= 100:
        raise invalid_request(
            "Limit must be between 1 and 100.", "limit", "parameter_invalid_integer"
        )
    return limit


def _candidates(store: Store, kind: str, params: JsonObject, filters: Filters) -> list[str]:
    for name in _LINK_FIELDS:
        value = params.get(name)
        if name in filters and isinstance(value, str):
            return store.linked(kind, name, value)
    return store.kinds.get(kind, [])


def _cursor_window(
    store: Store, kind: str, ids: list[str], params: JsonObject
) -> tuple[Iterable[str], bool]:
    """Return the ids after or before the cursor, and whether they are oldest first."""
    after, before = read.text(params, "starting_after"), read.text(params, "ending_before")
    if after and before:
        raise invalid_request("You may only specify one of starting_after and ending_before.")
    cursor = after or before
    if cursor is None:
        return reversed(ids), False
    param = "starting_after" if after else "ending_before"
    if store.objects.get(cursor, {}).get("object") != kind:
        raise not_found(kind, cursor, param)
    first = _bisect(store, ids, store.positions[cursor])
    if after:
        return reversed(ids[:first]), False
    return (i for i in ids[first:] if i != cursor), True


def _bisect(store: Store, ids: list[str], position: int) -> int:
    low, high = 0, len(ids)
    while low < high:
        middle = (low + high) // 2
        if store.positions[ids[middle]] < position:
            low = middle + 1
        else:
            high = middle
    return low


def _predicates(params: JsonObject, filters: Filters) -> list[Predicate]:
    values = {leaf: _value_of(params, leaf) for leaf in filters}
    sent = {leaf: value for leaf, value in values.items() if value is not None}
    tests = [_bind_filter(filters[leaf], value) for leaf, value in sent.items()]
    return [*tests, *_created_range(params)]


def _value_of(params: JsonObject, leaf: str) -> JsonValue:
    """Return the value of a filter, of `lookup_keys[]` the whole array, or None when absent."""
    *objects, name = leaf.removesuffix("[]").split(".")
    for each in objects:
        params = read.nested_object(params, each)
    return params.get(name)


def _bind_filter(matches: Filter, value: JsonValue) -> Predicate:
    return lambda row: matches(row, value)


def _created_range(params: JsonObject) -> list[Predicate]:
    created = params.get("created")
    if created is None:
        return []
    if isinstance(created, str):
        timestamp = read.integer(params, "created")
        return [lambda row: _created(row) == timestamp]
    bounds = {name: read.integer(created, name) for name in created}
    lowest = max(bounds.get("gte") or 0, (bounds.get("gt") or -1) + 1)
    highest = min(_or_max(bounds.get("lte")), _or_max(bounds.get("lt")) - ("lt" in bounds))
    return [lambda row: lowest <= _created(row) <= highest]


def _created(row: JsonObject) -> int:
    """Return when an object was created; invoice items call it `date`."""
    return int(row["created"] if "created" in row else row["date"])


def _or_max(timestamp: int | None) -> int:
    return 2**62 if timestamp is None else timestamp
