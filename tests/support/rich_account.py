"""An account with one of everything that the sandbox makes, and a crawler of all its links."""

import functools
import re
import typing
from collections.abc import Iterator, Mapping
from datetime import timedelta

import aiohttp
import stripe
from stripe._list_object import ListObject

from payments import sandbox as sandboxes
from payments.sandbox import contract, routes
from payments.sandbox.contract_annotations import TypeExpression, origin_of, resolve
from payments.sandbox.contract_expansion import can_expand
from payments.sandbox.contract_types import is_resource, resource_hints
from payments.sandbox.expansion import MAX_EXPAND_DEPTH
from payments.sandbox.form_encoding import JsonObject, JsonValue
from tests.support.shop import Shop

IBAN = "AT611904300234573201"
AUTHENTICATED = "pm_card_authenticationRequired"
LEGACY = ("card", "source")
MONTHLY: stripe.params.PriceCreateParamsRecurring = {"interval": "month"}
DISPUTED_CARD, DECLINED_CARD = "4000000000000259", "4000000000000341"
_ID = re.compile(r"(?=[a-z_]+_.*[A-Z0-9])(?:[a-z]+_)+[A-Za-z0-9]{8,}")
# What is the caller's own, what happened once, and what is no object: requests and secrets.
_NOT_FOLLOWED = ("metadata", "request", "data.object", "fingerprint", "secret", "client_secret")


async def fill(shop: Shop) -> None:
    """Let about two months pass in which everything happens once."""
    sandbox, client = shop.sandbox, shop.client.v1
    await client.webhook_endpoints.create_async(
        {"url": "https://shop.example/hook", "enabled_events": ["*"]}
    )
    await shop.gives(2500)
    await shop.gives(900, card=DISPUTED_CARD)
    await shop.pays(await shop.checkout(700, "gbp"))
    subscription = await shop.subscribes(500, "month")
    customer = str(subscription.customer)
    debit = await shop.checkout(1200, "eur", "month")
    assert debit.url
    await sandboxes.pay(debit.url, iban=IBAN)
    await shop.pays(await shop.setup_session(customer))
    expiring = await shop.checkout(300, after_expiration={"recovery": {"enabled": True}})
    await client.checkout.sessions.expire_async(expiring.id)
    await shop.checkout(400)  # stays open
    await _use_what_is_rare(shop, customer)
    await client.invoice_items.create_async(
        {"customer": customer, "amount": 250, "currency": "usd", "description": "A book"}
    )
    invoice = await client.invoices.create_async(
        {"customer": customer, "pending_invoice_items_behavior": "include"}
    )
    await client.invoices.finalize_invoice_async(str(invoice.id))
    await shop.subscribes(600, "month", card=DECLINED_CARD)
    await sandbox.advance(timedelta(days=10))
    charges = await client.charges.list_async({"limit": 100})
    refundable = next(each for each in charges.data if each.amount == 2500)
    await client.refunds.create_async({"charge": refundable.id, "amount": 500})
    sandbox.create_fraud_warning(refundable.id)
    sandbox.charge_fee("radar", 12)
    sandbox.hold_reserve(100)
    await client.topups.create_async({"amount": 5000, "currency": "usd", "description": "Start"})
    await sandbox.advance(timedelta(days=25))
    disputes = await client.disputes.list_async()
    sandbox.decide_dispute(disputes.data[0].id, won=True)
    await client.payouts.create_async({"amount": 100, "currency": "usd", "method": "instant"})
    await sandbox.advance(timedelta(days=10))
    payouts = await client.payouts.list_async()
    sandbox.fail_payout(payouts.data[0].id)
    await sandbox.advance(timedelta(days=3))


async def _use_what_is_rare(shop: Shop, customer: str) -> None:
    """A Payment Link, a legacy card, tiers and several items, and what waits for 3-D Secure."""
    client, product = shop.client.v1, await shop.product()
    once = await client.prices.create_async(
        {"currency": "usd", "unit_amount": 800, "product": product}
    )
    link = await client.payment_links.create_async(
        {"line_items": [{"price": once.id, "quantity": 1}]}
    )
    await sandboxes.pay(link.url)
    shop.sandbox.save_legacy_card(customer)
    monthly = await client.prices.create_async(
        {"currency": "usd", "unit_amount": 300, "product": product, "recurring": MONTHLY}
    )
    tiered = await client.prices.create_async(
        {
            "currency": "usd",
            "product": product,
            "recurring": MONTHLY,
            "billing_scheme": "tiered",
            "tiers_mode": "graduated",
            "tiers": [{"up_to": 2, "unit_amount": 100}, {"up_to": "inf", "unit_amount": 50}],
        }
    )
    await client.subscriptions.create_async(
        {
            "customer": customer,
            "items": [{"price": monthly.id}, {"price": tiered.id, "quantity": 3}],
            "trial_period_days": 14,
        }
    )
    await client.subscription_schedules.create_async(
        {
            "customer": customer,
            "start_date": int((shop.wall.now + timedelta(days=20)).timestamp()),
            "phases": [{"items": [{"price": monthly.id, "quantity": 1}]}],
        }
    )
    await client.payment_intents.create_async(
        {
            "amount": 1100,
            "currency": "usd",
            "payment_method": AUTHENTICATED,
            "confirm": True,
            "return_url": "https://shop.example/back",
        }
    )
    await client.setup_intents.create_async(
        {
            "customer": customer,
            "payment_method": AUTHENTICATED,
            "confirm": True,
            "return_url": "https://shop.example/back",
        }
    )


class Crawler:
    """Lists everything in an account, over HTTP, and follows whatever it names."""

    def __init__(self, http: aiohttp.ClientSession, base_url: str) -> None:
        self.http = http
        self.base_url = base_url
        self.objects: dict[tuple[str, str], JsonObject] = {}  # by `object` and id
        self.names: set[str] = set()  # ids that an object gives for another
        self.urls: set[str] = set()
        self.dead: dict[str, str] = {}

    async def get(self, path: str) -> JsonObject:
        """Return an answer of the API; one that is no 200 is noted as a dead link."""
        async with self.http.get(
            self.base_url + path, headers={"Authorization": "Bearer sk_test_crawl"}
        ) as response:
            answer: JsonObject = await response.json()
            if response.status != 200:
                self.dead[path] = answer["error"]["message"]
            return answer

    async def list_all(self) -> None:
        """Collect every object of every list, page by page."""
        for endpoint in contract.endpoints():
            if _is_list_of_all(endpoint) and routes.find("GET", endpoint.template):
                await self._list(endpoint.template)
        account = await self.get("/v1/account")
        self.collect(account)
        await self._list(f"/v1/accounts/{account['id']}/external_accounts")
        await self._list("/v1/subscriptions", "&status=all")
        for kind, object_id in list(self.objects):
            if kind == "setup_intent":
                await self._list("/v1/setup_attempts", f"&setup_intent={object_id}")
            elif kind == "checkout.session":
                await self._list(f"/v1/checkout/sessions/{object_id}/line_items")
            elif kind == "customer":
                await self._list(f"/v1/customers/{object_id}/sources")

    async def _list(self, path: str, query: str = "") -> None:
        answer = await self.get(f"{path}?limit=100{query}")
        while answer.get("object") == "list":
            for row in answer["data"]:
                self.collect(row)
            if not answer["has_more"]:
                return
            after = answer["data"][-1]["id"]
            answer = await self.get(f"{path}?limit=100{query}&starting_after={after}")

    def collect(self, value: JsonValue, path: str = "") -> None:
        """Take down the objects, ids and URLs in a part of an answer."""
        if path.endswith(_NOT_FOLLOWED):
            return
        if isinstance(value, dict):
            self._collect_object(value)
            for name, each in value.items():
                self.collect(each, f"{path}.{name}")
        elif isinstance(value, list):
            for each in value:
                self.collect(each, path)
        elif isinstance(value, str) and value.startswith(self.base_url):
            self.urls.add(value)
        elif isinstance(value, str) and _ID.fullmatch(value):
            self.names.add(value)

    def _collect_object(self, value: JsonObject) -> None:
        if "id" in value and "object" in value:
            self.objects[value["object"], value["id"]] = value
        if value.get("object") == "list":
            self.urls.add(value["url"])

    async def expand_all(self) -> None:
        """Expand everything that can be, in every list: an id becomes the object it names."""
        for path, properties in lists_of_all().items():
            for count in range(0, len(properties), 10):
                asked = properties[count : count + 10]
                query = "".join(f"&expand[]={each}" for each in asked)
                answer = await self.get(f"{path}?limit=100{query}")
                for row in answer.get("data", []):
                    for each in asked:
                        self._check_expanded(row, each.split(".")[1:], f"{path} {each}")

    def _check_expanded(self, node: JsonValue, steps: list[str], where: str) -> None:
        if isinstance(node, list):
            for each in node:
                self._check_expanded(each, steps, where)
        elif steps and isinstance(node, dict):
            self._check_expanded(node.get(steps[0]), steps[1:], where)
        elif isinstance(node, str):
            self.dead[where] = f"{node} is not expanded"

    async def follow(self) -> None:
        """Retrieve every object and every id, and open every URL, and what these name too."""
        kinds = {"mandate": "mandate"}  # which no list has
        kinds |= {object_id.rpartition("_")[0]: kind for kind, object_id in self.objects}
        opened: set[tuple[str | None, str]] = set()
        while to_open := self._named(kinds) - opened:
            for kind, name in to_open:
                await self._open(kind, name)
            opened |= to_open

    def _named(self, kinds: Mapping[str, str]) -> set[tuple[str | None, str]]:
        """Return the `object` and id of all that was named, and "url" and the URLs."""
        listed = {object_id for _, object_id in self.objects}
        named = {(kinds.get(each.rpartition("_")[0]), each) for each in self.names - listed}
        return {*self.objects, *named, *(("url", url) for url in self.urls)}

    async def _open(self, kind: str | None, name: str) -> None:
        if kind is None:
            self.dead[name] = "nothing listed has such ids"
        elif kind != "url":
            await self._retrieve(kind, name)
        elif not name.startswith("/"):
            async with self.http.get(name) as response:
                if response.status != 200:
                    self.dead[name] = str(response.status)
        elif (await self.get(name)).get("object") != "list":
            self.dead.setdefault(name, "is no list")

    async def _retrieve(self, kind: str, object_id: str) -> None:
        path = retrieve_path(kind, object_id)
        if kind in LEGACY:
            owner = self.objects[kind, object_id]["customer"]
            path = f"/v1/customers/{owner}/sources/{object_id}"
        if path is None:
            return
        found = await self.get(path)
        if path not in self.dead and found["id"] != object_id:
            self.dead[path] = f"is {found['id']}"
        self.collect(found)


async def list_account(base_url: str) -> list[JsonObject]:
    """Return every object that the lists of an account show."""
    async with aiohttp.ClientSession() as http:
        crawler = Crawler(http, base_url)
        await crawler.list_all()
        assert crawler.dead == {}
        return list(crawler.objects.values())


def lists_of_all() -> dict[str, list[str]]:
    """Return the paths of the lists that the sandbox serves, and what each can have expanded."""
    return {
        endpoint.template: list(_expandable(endpoint.returns, endpoint.module))
        for endpoint in contract.endpoints()
        if _is_list_of_all(endpoint) and routes.find("GET", endpoint.template)
    }


def _expandable(kind: TypeExpression, module: str) -> Iterator[str]:
    """Yield what can be expanded in a list's own objects, not in those they name."""
    listed = resolve(typing.get_args(resolve(kind, module))[0], module)
    owners = [("data", resolve(each, module)) for each in typing.get_args(listed) or (listed,)]
    while owners:
        path, owner = owners.pop()
        for name, (hint, of) in resource_hints(owner).items():
            below = f"{path}.{name}"
            if can_expand(kind, module, tuple(below.split("."))):
                yield below
            elif below.count(".") < MAX_EXPAND_DEPTH - 1:
                whole = resolve(hint, of)
                inside = () if origin_of(whole) is typing.Literal else typing.get_args(whole)
                parts = [whole, *(resolve(part, of) for part in inside)]
                owners += [(below, part) for part in parts if is_resource(part)]


def _is_list_of_all(endpoint: contract.Endpoint) -> bool:
    """Whether it lists objects and needs no parameter."""
    if endpoint.method != "GET" or "{" in endpoint.template:
        return False
    returned = resolve(endpoint.returns, endpoint.module)
    params = resolve(endpoint.params, endpoint.module)
    return origin_of(returned) is ListObject and not getattr(params, "__required_keys__", ())


def retrieve_path(kind: str, object_id: str) -> str | None:
    """Return where the SDK retrieves an object, or None where it can only be listed."""
    if kind == "account":
        return f"/v1/accounts/{object_id}"
    if kind == "bank_account":
        return f"/v1/accounts/acct_1SandboxAccount00/external_accounts/{object_id}"
    template = _retrieve_template(kind)
    return None if template is None else template.format(object_id)


@functools.cache
def _retrieve_template(kind: str) -> str | None:
    for endpoint in contract.endpoints():
        template = re.sub(r"\{\w+\}", "{}", endpoint.template)
        if endpoint.method == "GET" and template.endswith("{}") and template.count("{}") == 1:
            returned = resolve(endpoint.returns, endpoint.module)
            if getattr(returned, "OBJECT_NAME", None) == kind:
                return template
    return None
