"""Says which properties of a response can be expanded, from the types of Stripe's SDK.

A property can be expanded when its type has an `object` name of its own: as an id that stands for
it, whole, or in a list. The types do not say which others a response hides until it is asked to
show them; the API reference does.
"""

import functools
import typing
from collections.abc import Iterator
from typing import Final, NamedTuple

from stripe._list_object import ListObject
from stripe._search_result_object import SearchResultObject

from payments.sandbox.contract_annotations import TypeExpression, origin_of, resolve
from payments.sandbox.contract_types import UNION_ORIGINS, is_resource, resource_hints

# Hashes and texts that an object shows only when asked to. https://docs.stripe.com/expand#includable
HIDDEN_PROPERTIES: Final = {
    "checkout.session": ("total_details.breakdown",),
    "coupon": ("applies_to", "currency_options"),
    "customer": ("invoice_credit_balance",),
    "issuing.card": ("cvc", "number"),
    "item": ("discounts", "taxes"),
    "plan": ("tiers",),
    "price": ("currency_options", "tiers"),
}


class ExpandedField(NamedTuple):
    """A property whose objects a response shows only when asked to.

    `owner` and `kinds` are `object` names; `owner` is empty in an object without one.
    """

    owner: str
    name: str
    kinds: tuple[str, ...]


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


def expanded_fields(
    kind: TypeExpression, module: str, steps: tuple[str, ...]
) -> Iterator[ExpandedField]:
    """Yield the properties that a response of this type shows because these steps are expanded."""
    for member, of in _members(kind, module) if steps else ():
        origin, name = origin_of(member), steps[0]
        if origin in _PAGES:
            if name == "data":
                yield from expanded_fields(typing.get_args(member)[0], of, steps[1:])
            continue
        hint = resource_hints(origin).get(name) if is_resource(origin) else None
        if hint is not None:
            kinds = _hidden_kinds(*hint)
            if kinds:
                yield ExpandedField(_object_name(origin), name, kinds)
            yield from expanded_fields(*hint, steps[1:])


def _hidden_kinds(kind: TypeExpression, module: str) -> tuple[str, ...]:
    """Return the objects that a property of this type shows when expanded, and not otherwise."""
    members = list(_members(kind, module))
    types = {member for member, _ in members}
    objects = {_object_name(m) for m in types if is_resource(m)} if str in types else set()
    if type(None) in types:  # a list that may be absent
        pages = [(typing.get_args(m)[0], of) for m, of in members if origin_of(m) in _PAGES]
        objects |= {_object_name(resolve(*page)) for page in pages}
    return tuple(sorted(objects - {""}))


def _can_expand_in(member: TypeExpression, module: str, steps: tuple[str, ...]) -> bool:
    origin = origin_of(member)
    if origin in _PAGES:
        return steps[0] == "data" and can_expand(typing.get_args(member)[0], module, steps[1:])
    if not is_resource(origin):
        return False
    if ".".join(steps) in HIDDEN_PROPERTIES.get(_object_name(origin), ()):
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
