"""Events and webhook endpoints: what happened, and who asked to be told.

An event waits for each endpoint that wants it until that endpoint has answered 2xx;
`delivery_success=false` lists those for which somebody is still waiting, or was never reached.
"""

from fnmatch import fnmatchcase
from typing import Final

from payments.sandbox import listing, webhook_deliveries
from payments.sandbox import request_params as read
from payments.sandbox.account import WEBHOOK_ENDPOINT, StripeAccount
from payments.sandbox.errors import invalid_request, missing_param
from payments.sandbox.form_encoding import JsonObject, JsonValue
from payments.sandbox.routes import Call, add_list_and_retrieve_routes, add_retrieve_route, route

MAX_ENDPOINTS: Final = 16

add_list_and_retrieve_routes(WEBHOOK_ENDPOINT, "/v1/webhook_endpoints")
add_retrieve_route("event", "/v1/events")


@route("GET", "/v1/events")
def list_events(call: Call) -> JsonObject:
    account = call.account
    types = read.array(call.params, "types")
    if len(types) > 20:
        raise invalid_request("You may list up to 20 event types.", "types")
    account.purge_expired_events()

    def delivered(event: JsonObject, wanted: JsonValue) -> bool:
        reached = not webhook_deliveries.unacknowledged_endpoints(account, event["id"])
        return reached is (wanted == "true")

    filters: listing.Filters = {
        "delivery_success": delivered,
        "type": lambda event, pattern: fnmatchcase(event["type"], pattern),
        "types": lambda event, wanted: event["type"] in wanted,
    }
    return listing.page(account.store, "event", call.path, call.params, filters)


@route("POST", "/v1/events/{}/retry")
def retry_event(call: Call) -> JsonObject:
    """Undocumented, for `stripe events resend`: deliver it again."""
    event = call.get_object("event")
    endpoint = read.text(call.params, "webhook_endpoint")
    webhook_deliveries.requeue(call.account, event, endpoint)
    return event


@route("POST", "/v1/webhook_endpoints")
def create_endpoint(call: Call) -> JsonObject:
    account, params = call.account, call.params
    if sum(1 for _ in account.store.of_kind(WEBHOOK_ENDPOINT)) >= MAX_ENDPOINTS:
        raise invalid_request("You have reached the maximum of 16 webhook endpoints.")
    url = read.required(params, "url")
    if not url.startswith(("http://", "https://")):
        raise invalid_request(
            "Invalid URL: must begin with http:// or https://", "url", "url_invalid"
        )
    enabled = read.array(params, "enabled_events")
    if not enabled:
        raise missing_param("enabled_events")
    endpoint = account.create_object(
        "we",
        WEBHOOK_ENDPOINT,
        {
            "api_version": read.text(params, "api_version"),
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


@route("POST", "/v1/webhook_endpoints/{}")
def update_endpoint(call: Call) -> JsonObject:
    endpoint, params = call.get_object(WEBHOOK_ENDPOINT), call.params
    endpoint["metadata"] = read.merge_metadata(endpoint["metadata"], params)
    for name in ("url", "description"):
        if name in params:
            endpoint[name] = read.text(params, name)
    if "enabled_events" in params:
        endpoint["enabled_events"] = read.array(params, "enabled_events")
    if "disabled" in params:
        endpoint["status"] = "disabled" if read.flag(params, "disabled") else "enabled"
    return endpoint


@route("DELETE", "/v1/webhook_endpoints/{}")
def delete_endpoint(call: Call) -> JsonObject:
    endpoint = call.get_object(WEBHOOK_ENDPOINT)
    call.account.store.remove(endpoint["id"])
    return {"id": endpoint["id"], "object": WEBHOOK_ENDPOINT, "deleted": True}


def account_id(account: StripeAccount) -> str:
    return f"acct_sandbox{account.store.seed:010d}"
