"""Says which properties of a response can be expanded, from the types of Stripe's SDK.

A property can be expanded when its type has an `object` name of its own: as an id that stands for
it, whole, or in a list. The types do not say which others a response hides until it is asked to
show them; the API reference does.
"""

import functools
import typing
from collections.abc import Iterator
from typing import Final

from stripe._list_object import ListObject
from stripe._search_result_object import SearchResultObject

from payments.sandbox.contract_annotations import TypeExpression, origin_of, resolve
from payments.sandbox.contract_types import UNION_ORIGINS, is_resource, resource_hints

# Hashes and texts that an object shows only when asked to. https://docs.stripe.com/expand#includable
HIDDEN_PROPERTIES: Final = {
    "coupon": ("applies_to", "currency_options"),
    "customer": ("invoice_credit_balance",),
    "issuing.card": ("cvc", "number"),
    "plan": ("tiers",),
    "price": ("currency_options", "tiers"),
}

_PAGES = (ListObject, SearchResultObject)
_ARRAYS = (list, typing.Sequence)


@functools.cache
def can_expand(kind: TypeExpression, module: str, steps: tuple[str, ...]) -> bool:
    """Return whether a response of this type can have the property at these steps expanded.

    `module` is the SDK's module with whose names the type is written.
    """
    members = list(_members(kind, module))
    if not steps:
        return any(_is_object(member) for member, _ in members)
    if steps == ("data",):  # what is in a list is there anyway
        return False
    return any(_can_expand_in(member, of, steps) for member, of in members)


def _can_expand_in(member: TypeExpression, module: str, steps: tuple[str, ...]) -> bool:
    origin = origin_of(member)
    if origin in _PAGES:
        return steps[0] == "data" and can_expand(typing.get_args(member)[0], module, steps[1:])
    if not is_resource(origin):
        return False
    if steps[1:] == () and steps[0] in HIDDEN_PROPERTIES.get(_object_name(origin), ()):
        return True
    hint = resource_hints(origin).get(steps[0])
    return hint is not None and can_expand(*hint, steps[1:])


def _is_object(kind: TypeExpression) -> bool:
    origin = origin_of(kind)
    return origin in _PAGES or (is_resource(origin) and bool(_object_name(origin)))


def _object_name(resource: type) -> str:
    return str(getattr(resource, "OBJECT_NAME", ""))


def _members(kind: TypeExpression, module: str) -> Iterator[tuple[TypeExpression, str]]:
    """Yield the types that a value may have: a union's, and those of an array's elements."""
    kind = resolve(kind, module)
    origin = origin_of(kind)
    if origin in UNION_ORIGINS or origin in _ARRAYS:
        for arg in typing.get_args(kind):
            yield from _members(arg, module)
    else:
        yield kind, module
