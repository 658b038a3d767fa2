"""The checks of a request before its handler runs: its route and its parameters.

A parameter that the SDK's types do not know, or of another type, is refused as Stripe refuses it. A
parameter that they know and the route does not declare is refused as not supported, rather than
dropped without a word.
"""

import re
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from payments.sandbox import routes
from payments.sandbox.api_versions import RequestVersion
from payments.sandbox.declared_params import find_undeclared
from payments.sandbox.errors import ApiError, invalid_request, unsupported
from payments.sandbox.form_encoding import JsonObject

if TYPE_CHECKING:
    from types import ModuleType

    from payments.sandbox.contract import Endpoint

_UNDOCUMENTED: tuple[re.Pattern[str], ...] = (
    re.compile(r"/v1/payment_pages/.*"),
    re.compile(r"/v1/events/[^/]+/retry"),
)
_UNKNOWN_NAME = re.compile(r": not in [\w.]+$|: takes no parameters, got ")


class ContractError(Exception):
    """A request that the SDK's types do not allow: its problems, and the error that answers it."""

    def __init__(self, problems: Sequence[str], refusal: ApiError) -> None:
        super().__init__(problems[0])
        self.problems = problems
        self.refusal = refusal


def contract_checker() -> "ModuleType":
    """Import and return the contract module; late, because it reads the whole SDK."""
    return import_module("payments.sandbox.contract")


def is_undocumented(path: str) -> bool:
    """Return whether a path is one that Stripe's own client calls and the SDK does not know."""
    return any(pattern.fullmatch(path) for pattern in _UNDOCUMENTED)


def find_route(method: str, path: str) -> routes.Route:
    """Return the route of a request.

    Raises ApiError, a 404, when Stripe has none such, or has one that the sandbox lacks: such as
    `/v1/customers/search`, which is not the customer `search`.
    """
    route = routes.find(method, path)
    endpoint = contract_checker().find_endpoint(method, path)
    if endpoint is not None:
        template = re.sub(r"\{\w+\}", "{}", endpoint.template)
        if route is None or route.template != template:
            refusal = unsupported(f"{method} {template.replace('{}', '…')}")
            del refusal.error["param"]
            refusal.status = 404
            raise refusal
    if route is None:
        message = f"Unrecognized request URL ({method}: {path}). Please see "
        refusal = invalid_request(message + "https://stripe.com/docs/api for the URLs there are.")
        refusal.status = 404
        raise refusal
    return route


def check_params(
    route: routes.Route, path: str, params: JsonObject, version: RequestVersion
) -> None:
    """Check a request's parameters.

    Raises ContractError for those that Stripe refuses, ApiError for those the sandbox does not do.
    """
    endpoint: Endpoint | None = contract_checker().find_endpoint(route.method, path)
    if endpoint is None:
        name = find_undeclared(params, route.reads)
        if name is not None:
            raise _unknown(name)
        return
    removed = {re.split(r"[.\[]", leaf)[0] for leaf in _removed(route, version)}
    described = {name: value for name, value in params.items() if name not in removed}
    problems = [f"{endpoint} ${problem}" for problem in endpoint.check_params(described)]
    problems.sort(key=lambda problem: _UNKNOWN_NAME.search(problem) is None)
    if problems and _UNKNOWN_NAME.search(problems[0]):
        raise ContractError(problems, _contract_error(problems[0]))
    undeclared = find_undeclared(params, route.reads)
    if undeclared is not None:
        raise unsupported(undeclared)
    if problems:
        raise ContractError(problems, _contract_error(problems[0]))


def _removed(route: routes.Route, version: RequestVersion) -> frozenset[str]:
    return version.removed_params(route.method, route.template)


def _unknown(name: str) -> ApiError:
    return invalid_request(f"Received unknown parameter: {name}", name, "parameter_unknown")


def _contract_error(problem: str) -> ApiError:
    named = re.search(r"\$\.([\w.\[\]]+)", problem)
    if named is None:
        return invalid_request(problem)
    head, *rest = re.sub(r"\[(\d+)\]", r".\1", named.group(1)).rstrip(".").split(".")
    param = head + "".join(f"[{step}]" for step in rest)
    if "missing" in problem:
        return invalid_request(f"Missing required param: {param}.", param, "parameter_missing")
    if _UNKNOWN_NAME.search(problem):
        if "payment_method_types" in param:
            code = "payment_method_types_no_longer_supported"
            return invalid_request(f"{param} is no longer supported.", param, code)
        return _unknown(param)
    if "expected an integer" in problem:
        message = f"Invalid integer: {problem.rpartition(' got ')[2]}"
        return invalid_request(message, param, "parameter_invalid_integer")
    return invalid_request(f"Invalid {param}: {problem.partition(': ')[2]}", param)
