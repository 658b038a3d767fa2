"""Events and webhook endpoints.

An event is unacknowledged by each subscribed endpoint until that endpoint has answered 2xx;
`delivery_success=false` lists the events that any endpoint has not acknowledged.
"""

from fnmatch import fnmatchcase
from typing import Final

from payments.sandbox import api_versions, listing, webhook_deliveries
from payments.sandbox import request_params as read
from payments.sandbox.account import WEBHOOK_ENDPOINT
from payments.sandbox.errors import invalid_request, missing_param
from payments.sandbox.form_encoding import JsonObject, JsonValue
from payments.sandbox.routes import Call, add_list_and_retrieve_routes, add_retrieve_route, route

MAX_ENDPOINTS: Final = 16

_ENDPOINT_PARAMS: Final = ("description", "enabled_events[]", "metadata", "url")

add_list_and_retrieve_routes(WEBHOOK_ENDPOINT, "/v1/webhook_endpoints", by_created=False)
add_retrieve_route("event", "/v1/events")


@route("GET", "/v1/events", reads=(*listing.reads(), "delivery_success", "type", "types[]"))
def list_events(call: Call) -> JsonObject:
    """List the retained events."""
    account = call.account
    types = read.array(call.params, "types")
    if len(types) > 20:
        raise invalid_request("You may list up to 20 event types.", "types")
    account.purge_expired_events()

    def delivery_success(event: JsonObject, value: JsonValue) -> bool:
        is_delivered = not webhook_deliveries.unacknowledged_endpoints(account, event["id"])
        return is_delivered is (value == "true")

    filters: listing.Filters = {
        "delivery_success": delivery_success,
        "type": lambda event, pattern: fnmatchcase(event["type"], pattern),
        "types[]": lambda event, types: event["type"] in types,
    }
    return listing.page(account.store, "event", call.path, call.params, filters)


@route("POST", "/v1/events/{}/retry", reads=("for_stripecli", "webhook_endpoint"))
def retry_event(call: Call) -> JsonObject:
    """Queue an event again, for `stripe events resend`. Undocumented."""
    event = call.get_object("event")
    endpoint = read.text(call.params, "webhook_endpoint")
    read.flag(call.params, "for_stripecli")  # who asks; the endpoint alone says where to
    webhook_deliveries.requeue(call.account, event, endpoint)
    return event


@route("POST", "/v1/webhook_endpoints", reads=(*_ENDPOINT_PARAMS, "api_version"))
def create_endpoint(call: Call) -> JsonObject:
    """Create a webhook endpoint; only this response shows its secret."""
    account, params = call.account, call.params
    if sum(1 for _ in account.store.of_kind(WEBHOOK_ENDPOINT)) >= MAX_ENDPOINTS:
        raise invalid_request(f"You have reached the maximum of {MAX_ENDPOINTS} webhook endpoints.")
    url = _url_in(params)
    enabled = read.array(params, "enabled_events")
    if not enabled:
        raise missing_param("enabled_events")
    endpoint = account.create_object(
        "we",
        WEBHOOK_ENDPOINT,
        {
            "api_version": _api_version_in(params),
            "application": None,
            "description": read.text(params, "description"),
            "enabled_events": enabled,
            "metadata": read.metadata(params),
            "status": "enabled",
            "url": url,
        },
    )
    secret = webhook_deliveries.new_secret(account)
    account.store.private(endpoint["id"])["secret"] = secret
    return {**endpoint, "secret": secret}


def _api_version_in(params: JsonObject) -> str | None:
    version = read.text(params, "api_version")
    if version is not None and not api_versions.is_rendered(version):
        raise api_versions.unknown_version(version, "api_version")
    return version


def _url_in(params: JsonObject) -> str:
    url = read.required(params, "url")
    if not url.startswith(("http://", "https://")):
        message = "Invalid URL: must begin with http:// or https://"
        raise invalid_request(message, "url", "url_invalid")
    return url


@route("POST", "/v1/webhook_endpoints/{}", reads=(*_ENDPOINT_PARAMS, "disabled"))
def update_endpoint(call: Call) -> JsonObject:
    """Update, enable or disable a webhook endpoint."""
    endpoint, params = call.get_object(WEBHOOK_ENDPOINT), call.params
    endpoint["metadata"] = read.merge_metadata(endpoint["metadata"], params)
    if "url" in params:
        endpoint["url"] = _url_in(params)
    if "description" in params:
        endpoint["description"] = read.text(params, "description")
    if "enabled_events" in params:
        endpoint["enabled_events"] = read.array(params, "enabled_events")
    if "disabled" in params:
        endpoint["status"] = "disabled" if read.flag(params, "disabled") else "enabled"
    return endpoint


@route("DELETE", "/v1/webhook_endpoints/{}")
def delete_endpoint(call: Call) -> JsonObject:
    """Delete a webhook endpoint."""
    endpoint = call.get_object(WEBHOOK_ENDPOINT)
    call.account.store.remove(endpoint["id"])
    return {"id": endpoint["id"], "object": WEBHOOK_ENDPOINT, "deleted": True}
