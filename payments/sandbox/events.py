"""Events and webhook endpoints: what happened, and who asked to be told.

An event waits for each endpoint that wants it until that endpoint has answered 2xx;
`delivery_success=false` lists those for which somebody is still waiting, or was never reached.
"""

from fnmatch import fnmatchcase
from typing import Final

from payments.sandbox import listing, outbox
from payments.sandbox import params as read
from payments.sandbox.account import ENDPOINT, Account
from payments.sandbox.errors import invalid, missing
from payments.sandbox.routes import Call, resource, retrieved, route
from payments.sandbox.wire import Obj, Value

MOST_ENDPOINTS: Final = 16

resource(ENDPOINT, "/v1/webhook_endpoints")
retrieved("event", "/v1/events")


@route("GET", "/v1/events")
def list_events(call: Call) -> Obj:
    account = call.account
    types = read.rows(call.params, "types")
    if len(types) > 20:
        raise invalid("You may list up to 20 event types.", "types")
    account.forget_old_events()

    def delivered(event: Obj, wanted: Value) -> bool:
        reached = not outbox.waiting_for(account, event["id"])
        return reached is (wanted == "true")

    filters: listing.Filters = {
        "delivery_success": delivered,
        "type": lambda event, pattern: fnmatchcase(event["type"], pattern),
        "types": lambda event, wanted: event["type"] in wanted,
    }
    return listing.page(account.store, "event", call.path, call.params, filters)


@route("POST", "/v1/events/{}/retry")
def retry_event(call: Call) -> Obj:
    """Undocumented, for `stripe events resend`: deliver it again."""
    event = call.subject("event")
    endpoint = read.text(call.params, "webhook_endpoint")
    outbox.send_again(call.account, event, endpoint)
    return event


@route("POST", "/v1/webhook_endpoints")
def create_endpoint(call: Call) -> Obj:
    account, params = call.account, call.params
    if sum(1 for _ in account.store.of_kind(ENDPOINT)) >= MOST_ENDPOINTS:
        raise invalid("You have reached the maximum of 16 webhook endpoints.")
    url = read.required(params, "url")
    if not url.startswith(("http://", "https://")):
        raise invalid("Invalid URL: must begin with http:// or https://", "url", "url_invalid")
    enabled = read.rows(params, "enabled_events")
    if not enabled:
        raise missing("enabled_events")
    endpoint = account.make(
        "we",
        ENDPOINT,
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
    secret = outbox.new_secret(account)
    account.store.private(endpoint["id"])["secret"] = secret
    return {**endpoint, "secret": secret}


@route("POST", "/v1/webhook_endpoints/{}")
def update_endpoint(call: Call) -> Obj:
    endpoint, params = call.subject(ENDPOINT), call.params
    endpoint["metadata"] = read.merge_metadata(endpoint["metadata"], params)
    for name in ("url", "description"):
        if name in params:
            endpoint[name] = read.text(params, name)
    if "enabled_events" in params:
        endpoint["enabled_events"] = read.rows(params, "enabled_events")
    if "disabled" in params:
        endpoint["status"] = "disabled" if read.flag(params, "disabled") else "enabled"
    return endpoint


@route("DELETE", "/v1/webhook_endpoints/{}")
def delete_endpoint(call: Call) -> Obj:
    endpoint = call.subject(ENDPOINT)
    call.account.store.remove(endpoint["id"])
    return {"id": endpoint["id"], "object": ENDPOINT, "deleted": True}


def account_id(account: Account) -> str:
    return f"acct_sandbox{account.store.seed:010d}"
