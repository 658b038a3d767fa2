"""The API: one request in, one response out, nothing awaited in between.

Checks run in this order: the API key, the decoding, the route, the key's permissions, the
idempotency key, the version, the parameters. Then the request's execution begins, and whatever
answers a POST from there on, a refusal too, is stored for a day under its idempotency key and
replayed. What is refused before is not: the same key may ask again.
https://docs.stripe.com/api/idempotent_requests
"""

import re
from collections import OrderedDict, deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from email.utils import format_datetime
from typing import Final

import msgspec

from payments.sandbox import (
    account_settings,
    api_keys,
    api_versions,
    async_payments,
    balance,
    balance_adjustments,
    catalog,
    charges,
    checkout,
    checkout_payment,
    customers,
    disputes,
    empty_collections,
    events,
    external_accounts,
    fraud_warnings,
    invoice_collection,
    invoice_endpoints,
    invoice_items,
    invoices,
    legacy_sources,
    payment_intents,
    payment_links,
    payment_method_configurations,
    payment_method_creation,
    payment_methods,
    payouts,
    permissions,
    plans,
    reference_data,
    refunds,
    renewals,
    request_checks,
    routes,
    sepa_debit_payments,
    setup_intents,
    subscription_endpoints,
    subscription_items,
    subscription_pauses,
    subscription_schedules,
    subscription_updates,
    subscriptions,
    unknown_values,
)
from payments.sandbox import request_params as read
from payments.sandbox.account import API_VERSION, StripeAccount
from payments.sandbox.errors import ApiError, invalid_request
from payments.sandbox.expansion import check_paths, expand
from payments.sandbox.faults import ERRORS, SERVER_ERROR, WITHOUT_EFFECT, Fault
from payments.sandbox.form_encoding import FormError, JsonObject, decode_form
from payments.sandbox.recorded_params import RecordedParams, unread

# Importing a module registers its routes and its task handlers.
RESOURCE_MODULES: Final = (
    account_settings, async_payments, balance, balance_adjustments, catalog, charges, checkout,
    checkout_payment, customers, disputes, empty_collections, events, external_accounts,
    fraud_warnings, invoice_collection, invoice_endpoints, invoice_items, invoices, legacy_sources,
    payment_intents, payment_links, payment_method_configurations,
    payment_method_creation, payment_methods, payouts, plans,
    reference_data, refunds,
    renewals, sepa_debit_payments, setup_intents, subscription_endpoints, subscription_items,
    subscription_pauses, subscription_schedules, subscription_updates, subscriptions,
)  # fmt: skip
IDEMPOTENCY_TTL_SECONDS: Final = 24 * 60 * 60
REQUEST_LOG_SIZE: Final = 20_000


@dataclass(frozen=True)
class ApiRequest:
    """A request to the API, not yet decoded."""

    method: str
    path: str
    query: str
    body: str
    headers: Mapping[str, str]

    @property
    def encoded_params(self) -> str:
        """The form-encoded parameters, of the query and the body together."""
        return "&".join(filter(None, (self.query, self.body)))

    @property
    def idempotency_key(self) -> str | None:
        """The idempotency key of a POST; other methods have none."""
        return self.headers.get("Idempotency-Key") if self.method == "POST" else None


@dataclass(frozen=True)
class ApiResponse:
    """A response of the API, ready to be sent."""

    status: int
    body: bytes
    headers: dict[str, str]


@dataclass(frozen=True)
class LoggedRequest:
    """A request the API has answered; tests count them.

    `key` is masked. `permission` is what the route needs of a restricted key, such as
    `charge_read`, and `expand_permissions` what the expanded objects need; both are recorded of
    any key, and empty when the request was not authenticated or has no route.
    """

    method: str
    path: str
    params: JsonObject
    idempotency_key: str | None
    status: int
    key: str = ""
    permission: str = ""
    expand_permissions: tuple[str, ...] = ()


@dataclass
class _Progress:
    """Who asks, what for, and how far that came: filled in while a request is answered."""

    key: api_keys.ApiKey | None = None
    permission: str = ""
    expand_permissions: tuple[str, ...] = ()
    is_executed: bool = False  # its handler was called


@dataclass
class IdempotentResult:
    """The response stored under an idempotency key; `expires_at` is a Unix time."""

    path: str
    params: JsonObject
    expires_at: int
    status: int = 0
    body: bytes = b""


class Api:
    """One account's API."""

    def __init__(
        self, account: StripeAccount, *, check_contract: bool, problems: list[str]
    ) -> None:
        self.account = account
        self.check_contract = check_contract
        self.problems = problems
        self.request_log: deque[LoggedRequest] = deque(maxlen=REQUEST_LOG_SIZE)
        self.idempotent_results: OrderedDict[str, IdempotentResult] = OrderedDict()
        self.in_flight: set[str] = set()

    def handle(self, request: ApiRequest) -> ApiResponse:
        """Answer one request. An error of the sandbox itself becomes a 500 and a problem."""
        headers = self._headers(request)
        params: JsonObject = {}
        progress = _Progress()
        try:
            authorization = request.headers.get("Authorization", "")
            progress.key = api_keys.authenticate(self.account, authorization)
            api_keys.check_account(progress.key, request.headers.get("Stripe-Account"))
            params = decode_form(request.encoded_params)
            status, body = self._dispatch(request, params, headers, progress)
        except FormError as error:
            status, body = 400, msgspec.json.encode(invalid_request(str(error)).body)
        except ApiError as refusal:
            status, body = refusal.status, msgspec.json.encode(refusal.body)
        except Exception as error:  # noqa: BLE001 - answered as Stripe answers an error of its own
            self.problems.append(f"{request.method} {request.path}: {error!r}")
            status, body = 500, msgspec.json.encode({"error": SERVER_ERROR})
        if progress.is_executed:
            self.store_result(request, params, status, body)
        self._log_request(request, params, status, progress)
        return ApiResponse(status, body, headers)

    def store_result(
        self, request: ApiRequest, params: JsonObject, status: int, body: bytes
    ) -> None:
        """Store an answer under the idempotency key of its request, if that has one."""
        if request.idempotency_key:
            expires_at = self.account.clock.wall_timestamp() + IDEMPOTENCY_TTL_SECONDS
            result = IdempotentResult(request.path, params, expires_at, status, body)
            self.idempotent_results[request.idempotency_key] = result

    def _log_request(
        self, request: ApiRequest, params: JsonObject, status: int, progress: _Progress
    ) -> None:
        key = progress.key.masked if progress.key else ""
        self.request_log.append(
            LoggedRequest(
                request.method,
                request.path,
                params,
                request.idempotency_key,
                status,
                key,
                progress.permission,
                progress.expand_permissions,
            )
        )

    def error_response(self, request: ApiRequest, status: int, error: JsonObject) -> ApiResponse:
        """Answer a request with an error, without carrying it out."""
        params, progress = _decoded(request), _Progress()
        if routes.find(request.method, request.path) is not None:
            with suppress(ApiError):
                _note_needs(request, params, progress)
        self._log_request(request, params, status, progress)
        body = msgspec.json.encode({"error": error})
        return ApiResponse(status, body, self._headers(request))

    def fault_response(self, request: ApiRequest, fault: Fault) -> ApiResponse:
        """Answer a request with the error of a fault, and store that where the fault keeps it."""
        if fault.kind == WITHOUT_EFFECT:
            return self._confirm_unmade(request)
        status, error = self._fault_error(request, fault)
        body = msgspec.json.encode({"error": error})
        if fault.takes_effect:
            response = replace(self.handle(request), status=status, body=body)
            self.request_log[-1] = replace(self.request_log[-1], status=status)
        else:
            response = self.error_response(request, status, error)
        if fault.keep:
            self.store_result(request, _decoded(request), status, body)
        if fault.should_retry is not None:
            response.headers["Stripe-Should-Retry"] = str(fault.should_retry).lower()
        return response

    def _confirm_unmade(self, request: ApiRequest) -> ApiResponse:
        """Answer a change of an object with the object as it is, and do nothing."""
        changed = re.match(r"/v1/(?:checkout/)?\w+/\w+", request.path)
        if changed is None:
            raise ValueError(f"{request.path} changes no object")
        reading = ApiRequest("GET", changed.group(), "", "", request.headers)
        response = self.handle(reading)
        self.store_result(request, _decoded(request), response.status, response.body)
        return response

    def _fault_error(self, request: ApiRequest, fault: Fault) -> tuple[int, JsonObject]:
        if fault.kind in ERRORS:
            return ERRORS[fault.kind]
        authorization = request.headers.get("Authorization", "")
        secret = api_keys.secret_of(authorization)
        if fault.kind == "unauthorized":
            refusal = api_keys.expired_error(secret)
        else:
            template = routes.path_template(request.method, request.path)
            permission = permissions.of_route(request.method, template)
            refusal = api_keys.permission_error(secret, permission)
        return refusal.status, refusal.error

    # -- steps --------------------------------------------------------------------------------

    def _dispatch(
        self, request: ApiRequest, params: JsonObject, headers: dict[str, str], progress: _Progress
    ) -> tuple[int, bytes]:
        route = request_checks.find_route(request.method, request.path)
        _note_needs(request, params, progress)
        if progress.key is not None:
            api_keys.authorize(progress.key, (progress.permission, *progress.expand_permissions))
        if request.idempotency_key is not None:
            replay = self._find_replay(request, params)
            if replay is not None:
                headers["Idempotent-Replayed"] = "true"
                return replay.status, replay.body
        version = api_versions.request_version(request.headers.get("Stripe-Version"))
        self._check_params(route, request, params, version)
        recorded = RecordedParams(params) if self.check_contract else params
        paths = read.array(recorded, "expand")
        check_paths(request.method, request.path, paths)
        call = routes.Call(self.account, request.path, recorded, route.ids_in(request.path))
        self.account.current_request = {
            "id": headers["Request-Id"],
            "idempotency_key": request.idempotency_key,
        }
        progress.is_executed = True
        try:
            with self.account.all_or_nothing():
                payload = route.handler(call)
        finally:
            self.account.current_request = {"id": None, "idempotency_key": None}
        payload = expand(self.account.store, payload, paths)
        if isinstance(recorded, RecordedParams):
            dropped = unread(params, recorded)
            self.problems.extend(f"{request.method} {request.path} dropped {n}" for n in dropped)
        self._check_response(request, msgspec.json.encode(payload))
        rendered = api_versions.render(self.account.store, payload, version.name)
        return 200, msgspec.json.encode(rendered)

    def _find_replay(self, request: ApiRequest, params: JsonObject) -> IdempotentResult | None:
        key, now = request.idempotency_key or "", self.account.clock.wall_timestamp()
        while (
            self.idempotent_results
            and next(iter(self.idempotent_results.values())).expires_at < now
        ):
            self.idempotent_results.popitem(last=False)
        if len(key) > 255:
            raise invalid_request("Idempotency keys can be up to 255 characters.")
        result = self.idempotent_results.get(key)
        if result is not None and (result.path, result.params) != (request.path, params):
            message = "Keys for idempotent requests can only be used with the same parameters they "
            message += f"were first used with. Try using a key other than '{key}'."
            raise ApiError(400, {"type": "idempotency_error", "message": message})
        return result

    def conflict_response(self, request: ApiRequest) -> ApiResponse | None:
        """Return a 409 while another request with the same idempotency key is being answered."""
        if request.idempotency_key not in self.in_flight:
            return None
        message = "There is currently another in-progress request using this Idempotency Key."
        error = {"type": "idempotency_error", "code": "idempotency_key_in_use", "message": message}
        return self.error_response(request, 409, error)

    def _headers(self, request: ApiRequest) -> dict[str, str]:
        headers = {
            "Content-Type": "application/json",
            "Date": format_datetime(self.account.clock.wall_now(), usegmt=True),
            "Request-Id": self.account.store.new_id("req", 14),
            "Stripe-Version": request.headers.get("Stripe-Version", API_VERSION),
        }
        key = request.headers.get("Idempotency-Key")
        if key:
            headers["Idempotency-Key"] = key
        return headers

    # -- the contract -------------------------------------------------------------------------

    def _check_params(
        self,
        route: routes.Route,
        request: ApiRequest,
        params: JsonObject,
        version: api_versions.RequestVersion,
    ) -> None:
        try:
            request_checks.check_params(route, request.path, params, version)
        except request_checks.ContractError as error:
            if self.check_contract and version.is_pinned:
                self.problems.extend(error.problems)
            raise error.refusal from error

    def _check_response(self, request: ApiRequest, body: bytes) -> None:
        if self.check_contract and not request_checks.is_undocumented(request.path):
            payload = unknown_values.with_known_values(self.account, msgspec.json.decode(body))
            checker = request_checks.contract_checker()
            self.problems.extend(checker.check_response(request.method, request.path, payload))

    def check_event(self, event: JsonObject) -> None:
        """Check an event against the SDK's types, and record its problems."""
        if self.check_contract:
            payload = msgspec.json.decode(msgspec.json.encode(event))
            payload = unknown_values.with_known_values(self.account, payload)
            self.problems.extend(request_checks.contract_checker().check_event(payload))


def _decoded(request: ApiRequest) -> JsonObject:
    """Return the parameters of a request that is not carried out; none when it is no form."""
    try:
        return decode_form(request.encoded_params)
    except FormError:
        return {}


def _note_needs(request: ApiRequest, params: JsonObject, progress: _Progress) -> None:
    template = routes.path_template(request.method, request.path)
    progress.permission = permissions.of_route(request.method, template)
    paths = read.array(params, "expand")
    if paths:
        progress.expand_permissions = permissions.of_expansions(request.method, template, paths)
