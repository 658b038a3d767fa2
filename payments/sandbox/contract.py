"""The contract: checks requests, responses and events against the types of Stripe's SDK.

Nothing about Stripe is written here by hand. Endpoints come from the SDK's services, parameters
from their params classes, responses from the resource classes, the object of an event from the
SDK's thin event of the same type. A new SDK brings a new contract.

What types cannot express goes unchecked: lengths, limits, fields that exclude each other, and
whether a nullable field may be absent.
"""

import functools
import importlib
import inspect
import json
import re
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import stripe

from payments.sandbox.contract_annotations import TypeExpression, resolve
from payments.sandbox.contract_types import (
    Check,
    Json,
    Problems,
    check_by_object_name,
    compile_class,
    compile_type,
    short_repr,
)
from payments.sandbox.form_encoding import decode_form

HTTP_METHODS = frozenset({"get", "post", "delete"})


# ------------------------------------------------------------------ checks


def check_request(method: str, path_and_query: str, body: str = "") -> list[str]:
    """Return the problems of an encoded request; none when Stripe would accept it.

    An endpoint the SDK does not know is one problem, "no such endpoint": the CLI calls some.
    """
    path, _, query = path_and_query.partition("?")
    endpoint = find_endpoint(method, path)
    if endpoint is None:
        return [_no_such_endpoint(method, path)]
    try:
        params = json.loads(body or "{}") if endpoint.takes_json else decode_form(f"{query}&{body}")
    except ValueError as error:
        return [f"{endpoint} $: {error}"]
    if endpoint.template.startswith("/v2/"):
        params.pop("usage", None)  # the SDK tells v2 in it which of its own methods called
    return [f"{endpoint} ${problem}" for problem in endpoint.check_params(params)]


def check_response(method: str, path: str, payload: Json) -> list[str]:
    """Return the problems of a successful response to this call."""
    endpoint = find_endpoint(method, path.partition("?")[0])
    if endpoint is None:
        return [_no_such_endpoint(method, path)]
    return [f"{endpoint} ${problem}" for problem in endpoint.check_response_body(payload)]


def check_object(payload: Json) -> list[str]:
    """Return the problems of a Stripe object, by the class that its `object` field names."""
    return [f"${problem}" for problem in check_by_object_name(payload)]


def check_event(event: Json) -> list[str]:
    """Return the problems of a snapshot event: its envelope, API version and object."""
    problems = [f"${problem}" for problem in compile_class(stripe.Event, form_encoded=False)(event)]
    data = event.get("data") if isinstance(event, dict) else None
    if not isinstance(data, dict) or not isinstance(data.get("object"), dict):
        return problems
    if event.get("api_version") != stripe.api_version:
        version = short_repr(event.get("api_version"))
        problems.append(f"$.api_version: {version} is not the SDK's {stripe.api_version!r}")
    problems += [f"$.data.object{problem}" for problem in check_by_object_name(data["object"])]
    object_name = _object_name_of_event(str(event.get("type")))
    if object_name not in (None, data["object"].get("object")):
        problems.append(f"$.data.object: {event['type']} is about a {object_name}")
    previous = data.get("previous_attributes")
    unknown = sorted(previous.keys() - data["object"].keys()) if isinstance(previous, dict) else []
    return problems + [f"$.data.previous_attributes.{name}: not on the object" for name in unknown]


@functools.cache
def _object_name_of_event(event_type: str) -> str | None:
    """Return the `object` of events of this type, as the SDK's thin event class annotates it."""
    module = f"stripe.events._v1_{event_type.replace('.', '_')}_event"
    try:
        members = vars(importlib.import_module(module)).values()
    except (ModuleNotFoundError, ValueError):  # the type may be anything a peer can write
        return None
    classes = [member for member in members if isinstance(member, type)]
    fetches = [vars(cls).get("fetch_related_object") for cls in classes]
    hints = [inspect.get_annotations(fetch) for fetch in fetches if fetch]
    resource = resolve(hints[0]["return"], module) if hints else None
    return getattr(resource, "OBJECT_NAME", None)


# ------------------------------------------------------------------ endpoints


@dataclass(frozen=True)
class Endpoint:
    """One endpoint of Stripe's API, with the types of its parameters and its response."""

    method: str
    template: str
    module: str
    params: TypeExpression
    returns: TypeExpression

    def __str__(self) -> str:
        return f"{self.method} {self.template}"

    @property
    def takes_json(self) -> bool:
        """Whether its body is JSON: only v2 takes JSON."""
        return self.method == "POST" and self.template.startswith("/v2/")

    @functools.cached_property
    def pattern(self) -> re.Pattern[str]:
        """A pattern that matches its paths, whatever their ids."""
        return re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(self.template)))

    @functools.cached_property
    def check_params(self) -> Check:
        """The check of its parameters."""
        if self.params is None:
            return _check_takes_no_params
        return compile_type(self.params, self.module, form_encoded=not self.takes_json)

    @functools.cached_property
    def check_response_body(self) -> Check:
        """The check of a successful response."""
        return compile_type(self.returns, self.module, form_encoded=False)


@functools.cache
def endpoints() -> tuple[Endpoint, ...]:
    """Return all the SDK's endpoints; `/v1/invoices/create_preview` before `/v1/invoices/{id}`."""
    every = [endpoint for module in _service_modules() for endpoint in _endpoints_in(module)]
    return tuple(sorted(every, key=lambda each: (each.template.count("{"), each.template)))


def find_endpoint(method: str, path: str) -> Endpoint | None:
    """Return the endpoint of a path, or None where the SDK has none."""
    candidates = _endpoints_by_shape().get(_shape(method.upper(), path), ())
    return next((each for each in candidates if each.pattern.fullmatch(path)), None)


@functools.cache
def _endpoints_by_shape() -> dict[tuple[str, int, str], list[Endpoint]]:
    shapes: dict[tuple[str, int, str], list[Endpoint]] = {}
    for endpoint in endpoints():
        shapes.setdefault(_shape(endpoint.method, endpoint.template), []).append(endpoint)
    return shapes


def _shape(method: str, path: str) -> tuple[str, int, str]:
    """Return a key of a path; no id comes before its third part, as in `/v1/charges/{id}`."""
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
    """A service method calls one endpoint, whose HTTP method and path are constants in its code."""
    constants = [constant for constant in method.__code__.co_consts if isinstance(constant, str)]
    http_method = next((text for text in constants if text in HTTP_METHODS), None)
    template = next((text for text in constants if re.match(r"/v\d+/", text)), None)
    if http_method and template:
        hints = inspect.get_annotations(method)
        params, returns = hints.get("params"), hints["return"]
        yield Endpoint(http_method.upper(), template, method.__module__, params, returns)


def _check_takes_no_params(value: Json) -> Problems:
    return [f": takes no parameters, got {sorted(value)}"] if value else ()


def _no_such_endpoint(method: str, path: str) -> str:
    return f"{method.upper()} {path}: no such endpoint in stripe {stripe.VERSION}"
