"""The parameters that routes declare to read, and those that a request sends.

A leaf parameter is written as in `items[].price_data.unit_amount`: `.` leads into an object, `[]`
into the entries of an array. A map such as `metadata` is one leaf, whatever its keys.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from typing import Final

from payments.sandbox.form_encoding import JsonValue

EXPAND: Final = "expand[]"
ADDRESS: Final = ("city", "country", "line1", "line2", "postal_code", "state")
CREATED: Final = ("created", "created.gt", "created.gte", "created.lt", "created.lte")
PAGE: Final = ("limit", "starting_after", "ending_before")


def within(*prefixes: str, names: Iterable[str]) -> tuple[str, ...]:
    """Return the names below each prefix: `within("shipping", names=("name",))`."""
    return tuple(f"{prefix}.{name}" for prefix in prefixes for name in names)


def address(prefix: str = "address") -> tuple[str, ...]:
    """Return a postal address's leaves, which may be unset as a whole."""
    return (prefix, *within(prefix, names=ADDRESS))


def shipping(prefix: str = "shipping", *names: str) -> tuple[str, ...]:
    """Return the leaves of `shipping`: an address, and these fields beside it."""
    return within(prefix, names=(*names, *within("address", names=ADDRESS)))


def sent_leaves(params: JsonValue, leaf: str = "", name: str = "") -> Iterator[tuple[str, str]]:
    """Yield each leaf that a decoded request sends, and its name there: `items[0][price]`."""
    if isinstance(params, dict) and params:
        for key, value in params.items():
            below = f"{leaf}.{key}" if leaf else key
            yield from sent_leaves(value, below, f"{name}[{key}]" if name else key)
    elif isinstance(params, list) and params:
        for index, value in enumerate(params):
            yield from sent_leaves(value, f"{leaf}[]", f"{name}[{index}]")
    elif leaf:
        yield leaf, name


def find_undeclared(params: JsonValue, declared: Collection[str]) -> str | None:
    """Return the name of the first leaf that a request sends and that is not declared, or None."""
    return next((name for leaf, name in sent_leaves(params) if not covers(declared, leaf)), None)


def covers(declared: Collection[str], leaf: str) -> bool:
    """Return whether a leaf is declared, or the map that holds it."""
    return leaf in declared or (
        _MAP_KEY.search(leaf) is not None
        and _MAP_KEY.sub(".metadata", leaf).lstrip(".") in declared
    )


_MAP_KEY: Final = re.compile(r"(?:^|\.)metadata\..*$", re.DOTALL)
