"""The contract: would Stripe take this, would Stripe send this? The SDK's own types decide.

Nothing about Stripe is kept here by hand. Routes are read from the SDK's services, what a request
may carry from its params, what an answer must hold from its resources, what an event is about from
its thin twin: a new SDK brings a new contract.

What types cannot say goes unchecked: lengths, limits, fields that exclude each other, and whether
a field that may be null may also be left out.
"""

import functools
import importlib
import inspect
import itertools
import json
import re
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl

import stripe

from payments.sandbox.contract_types import (
    Check,
    Json,
    Problems,
    TypeExpression,
    check_by_object_name,
    compile_class,
    compile_type,
    resolve,
    short_repr,
)

FORM_DEPTH_MAX = 20
FORM_FIELDS_MAX = 2000
HTTP_METHODS = frozenset({"get", "post", "delete"})


class FormError(ValueError):
    """The brackets of a form contradict each other, or go deeper than any of Stripe's."""


# ------------------------------------------------------------------ what others ask


def check_request(method: str, path_and_query: str, body: str = "") -> list[str]:
    """What Stripe would refuse in a request as it came over the wire; empty when it would take it.

    A route the SDK does not know is one problem, "no such endpoint": the CLI calls some of those.
    """
    path, _, query = path_and_query.partition("?")
    route = find_endpoint(method, path)
    if route is None:
        return [_no_such_endpoint(method, path)]
    try:
        sent = json.loads(body or "{}") if route.takes_json else decode_form(f"{query}&{body}")
    except ValueError as error:
        return [f"{route} $: {error}"]
    if route.template.startswith("/v2/"):
        sent.pop("usage", None)  # the SDK tells v2 so which of its own methods called
    return [f"{route} ${problem}" for problem in route.check_params(sent)]


def check_response(method: str, path: str, payload: Json) -> list[str]:
    """What Stripe would never answer to this call when all went well."""
    route = find_endpoint(method, path.partition("?")[0])
    if route is None:
        return [_no_such_endpoint(method, path)]
    return [f"{route} ${problem}" for problem in route.check_response_body(payload)]


def check_object(payload: Json) -> list[str]:
    """What is wrong with a Stripe object, judged by the class its own `object` field names."""
    return [f"${problem}" for problem in check_by_object_name(payload)]


def check_event(event: Json) -> list[str]:
    """What is wrong with a snapshot event: its envelope, version and object, and how they match."""
    problems = [f"${problem}" for problem in compile_class(stripe.Event, form_encoded=False)(event)]
    data = event.get("data") if isinstance(event, dict) else None
    if not isinstance(data, dict) or not isinstance(data.get("object"), dict):
        return problems
    if event.get("api_version") != stripe.api_version:
        version = short_repr(event.get("api_version"))
        problems.append(f"$.api_version: {version} is not the SDK's {stripe.api_version!r}")
    problems += [f"$.data.object{problem}" for problem in check_by_object_name(data["object"])]
    subject = _object_of_event(str(event.get("type")))
    if subject not in (None, data["object"].get("object")):
        problems.append(f"$.data.object: {event['type']} is about a {subject}")
    before = data.get("previous_attributes")
    gone = sorted(before.keys() - data["object"].keys()) if isinstance(before, dict) else []
    return problems + [f"$.data.previous_attributes.{name}: not on the object" for name in gone]


@functools.cache
def _object_of_event(event_type: str) -> str | None:
    """The `object` an event of this type is about, as the SDK's class for its thin twin says."""
    module = f"stripe.events._v1_{event_type.replace('.', '_')}_event"
    try:
        twins = vars(importlib.import_module(module)).values()
    except (ModuleNotFoundError, ValueError):  # the type may be anything a peer can write
        return None
    fetches = [vars(twin).get("fetch_related_object") for twin in twins if isinstance(twin, type)]
    hints = [inspect.get_annotations(fetch) for fetch in fetches if fetch]
    subject = resolve(hints[0]["return"], module) if hints else None
    return getattr(subject, "OBJECT_NAME", None)


# ------------------------------------------------------------------ forms


def decode_form(text: str) -> dict[str, Json]:
    """Stripe's bracket syntax as the object it stands for: `a[0][b]=1` and `a[][b]=1` alike."""
    root: dict[str, Json] = {}
    for key, value in parse_qsl(text, keep_blank_values=True, max_num_fields=FORM_FIELDS_MAX):
        head, bracket, rest = key.partition("[")
        names = [head, *rest.removesuffix("]").split("][")] if bracket else [head]
        if len(names) > FORM_DEPTH_MAX:
            raise FormError(f"{head} is nested too deeply")
        node = root
        for name, below in itertools.pairwise(names):
            node = node.setdefault(_key(node, name, below), {})
            if not isinstance(node, dict):
                raise FormError(f"{head} is both a value and an object")
        last = _key(node, names[-1])
        if isinstance(node.get(last), dict):
            raise FormError(f"{head} is both a value and an object")
        node[last] = value
    return {name: _with_arrays(value) for name, value in root.items()}


def _key(node: Mapping[str, Json], name: str, below: str = "") -> str:
    """Where `a[]` points: to a new element, unless the last one still lacks the field below."""
    if name:
        return name
    last = node.get(str(len(node) - 1))
    is_open = below and isinstance(last, dict) and below not in last
    return str(len(node) - 1) if is_open else str(len(node))


def _with_arrays(node: Json) -> Json:
    """Objects whose keys count 0, 1, 2, ... are arrays; so `metadata[2026]` stays an object."""
    if not isinstance(node, dict):
        return node
    if node.keys() == {str(index) for index in range(len(node))}:
        return [_with_arrays(node[str(index)]) for index in range(len(node))]
    return {name: _with_arrays(value) for name, value in node.items()}


# ------------------------------------------------------------------ routes


@dataclass(frozen=True)
class Endpoint:
    """One endpoint of Stripe's API: where it is, what it takes, what it answers."""

    method: str
    template: str
    module: str
    params: TypeExpression
    returns: TypeExpression

    def __str__(self) -> str:
        return f"{self.method} {self.template}"

    @property
    def takes_json(self) -> bool:
        """Whether its body is JSON, which only v2 reads."""
        return self.method == "POST" and self.template.startswith("/v2/")

    @functools.cached_property
    def pattern(self) -> re.Pattern[str]:
        """Its path, with anything in place of the ids."""
        return re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(self.template)))

    @functools.cached_property
    def check_params(self) -> Check:
        """The check of its parameters."""
        if self.params is None:
            return _check_takes_no_params
        return compile_type(self.params, self.module, form_encoded=not self.takes_json)

    @functools.cached_property
    def check_response_body(self) -> Check:
        """The check of what it answers when all is well."""
        return compile_type(self.returns, self.module, form_encoded=False)


@functools.cache
def endpoints() -> tuple[Endpoint, ...]:
    """Every endpoint the SDK can call; `/v1/invoices/create_preview` before `/v1/invoices/{id}`."""
    found = [route for module in _service_modules() for route in _endpoints_in(module)]
    return tuple(sorted(found, key=lambda route: (route.template.count("{"), route.template)))


def find_endpoint(method: str, path: str) -> Endpoint | None:
    """The endpoint behind a path, or None where the SDK knows of none."""
    near = _endpoints_by_shape().get(_shape(method.upper(), path), ())
    return next((route for route in near if route.pattern.fullmatch(path)), None)


@functools.cache
def _endpoints_by_shape() -> dict[tuple[str, int, str], list[Endpoint]]:
    shapes: dict[tuple[str, int, str], list[Endpoint]] = {}
    for route in endpoints():
        shapes.setdefault(_shape(route.method, route.template), []).append(route)
    return shapes


def _shape(method: str, path: str) -> tuple[str, int, str]:
    """What a path is looked up by: no id comes before its third part, as in `/v1/charges/{id}`."""
    parts = path.split("/", 3)
    return method, path.count("/"), parts[2] if len(parts) > 2 else ""


def _service_modules() -> Iterator[types.ModuleType]:
    root = Path(str(stripe.__file__)).parent
    for file in sorted(root.rglob("*_service.py")):
        yield importlib.import_module(".".join(file.relative_to(root.parent).with_suffix("").parts))


def _endpoints_in(module: types.ModuleType) -> Iterator[Endpoint]:
    for service in vars(module).values():
        if isinstance(service, type) and service.__module__ == module.__name__:
            for method in vars(service).values():
                if inspect.isfunction(method) and not inspect.iscoroutinefunction(method):
                    yield from _endpoints_of(method)


def _endpoints_of(method: types.FunctionType) -> Iterator[Endpoint]:
    """A service method calls one endpoint, whose verb and path are constants in its code."""
    words = [word for word in method.__code__.co_consts if isinstance(word, str)]
    verb = next((word for word in words if word in HTTP_METHODS), None)
    template = next((word for word in words if re.match(r"/v\d+/", word)), None)
    if verb and template:
        hints = inspect.get_annotations(method)
        yield Endpoint(
            verb.upper(), template, method.__module__, hints.get("params"), hints["return"]
        )


def _check_takes_no_params(value: Json) -> Problems:
    return [f": takes no parameters, got {sorted(value)}"] if value else ()


def _no_such_endpoint(method: str, path: str) -> str:
    return f"{method.upper()} {path}: no such endpoint in stripe {stripe.VERSION}"
