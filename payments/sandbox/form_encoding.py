"""Stripe's wire format: requests are forms with brackets in their names, responses are JSON."""

import re
from typing import Any
from urllib.parse import parse_qsl

JsonObject = dict[str, Any]  # Any: JSON as Stripe has it; contract.py checks its shapes
JsonValue = Any  # a parameter: text, an object or an array

_BRACKETS = re.compile(r"\[([^\]]*)\]")


def decode_form(text: str) -> JsonObject:
    """Decode `a[b]=1&c[0][d]=2&e[]=3` to nested dicts and lists; every leaf is text.

    Lenient: a name that contradicts an earlier one is ignored. `contract.decode_form` is a second,
    strict decoder on purpose.
    """
    root: JsonObject = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        head, bracket, _ = name.partition("[")
        path = [head, *_BRACKETS.findall(name)] if bracket else [head]
        node = root
        for step in path[:-1]:
            child = node.setdefault(step or str(len(node)), {})
            if not isinstance(child, dict):
                break
            node = child
        else:
            node[path[-1] or str(len(node))] = value
    return {name: _as_lists(value) for name, value in root.items()}


def _as_lists(node: object) -> object:
    if not isinstance(node, dict):
        return node
    if node and all(name.isdigit() for name in node):
        return [_as_lists(node[name]) for name in sorted(node, key=int)]
    return {name: _as_lists(value) for name, value in node.items()}
