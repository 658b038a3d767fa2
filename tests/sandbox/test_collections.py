"""What programs that copy a whole account ask for: plans, items, bank accounts and empty lists."""

import typing

import pytest
import stripe
from stripe._list_object import ListObject

from payments.sandbox import contract, routes
from payments.sandbox.contract_annotations import origin_of, resolve
from payments.sandbox.empty_collections import COLLECTIONS
from tests.support.shop import Shop

pytestmark = pytest.mark.anyio

# Products that the sandbox's account does not have, whose routes are not there
NOT_SERVED = (
    "/v1/apple_pay/", "/v1/apps/", "/v1/billing/credit", "/v1/billing/feedback", "/v1/climate/",
    "/v1/exchange_rates", "/v1/financial_connections/", "/v1/forwarding/", "/v1/issuing/p",
    "/v1/issuing/tokens", "/v1/payment_attempt_records", "/v1/payment_records",
    "/v1/product_catalog/", "/v1/radar/value_list", "/v1/reporting/report_types", "/v1/tax/",
    "/v1/terminal/", "/v1/three_d_secure/", "/v1/treasury/",
)  # fmt: skip


def lists_of_the_sdk() -> dict[str, list[str]]:
    """The paths of the SDK's lists of all objects of a kind, and the `object`s in them."""
    found: dict[str, list[str]] = {}
    for endpoint in contract.endpoints():
        returned = resolve(endpoint.returns, endpoint.module)
        if endpoint.method == "GET" and origin_of(returned) is ListObject:
            listed = resolve(typing.get_args(returned)[0], endpoint.module)
            kinds = typing.get_args(listed) or (listed,)
            kinds = tuple(resolve(kind, endpoint.module) for kind in kinds)
            found[endpoint.template] = [kind.OBJECT_NAME for kind in kinds]
    return found


def test_every_list_of_the_sdk_is_there_or_belongs_to_a_product_that_is_not() -> None:
    missing = [
        path
        for path in lists_of_the_sdk()
        if path.startswith("/v1/") and "{" not in path and not path.startswith(NOT_SERVED)
        if routes.find("GET", path) is None
    ]
    assert missing == []


def test_empty_collections_are_of_what_the_sdk_says() -> None:
    known = {_without_names(path): kinds for path, kinds in lists_of_the_sdk().items()}
    for collection in COLLECTIONS:
        assert collection.object_name in known[collection.path], collection.path


def _without_names(path: str) -> str:
    return "/".join("{}" if part.startswith("{") else part for part in path.split("/"))


async def test_a_collection_that_has_nothing_is_listed_and_nothing_is_found_there(
    shop: Shop,
) -> None:
    client = shop.client.v1
    customer = (await client.customers.create_async({})).id
    assert (await client.coupons.list_async({"limit": 3})).data == []
    assert (await client.credit_notes.list_async({"customer": customer})).data == []
    assert (await client.customers.tax_ids.list_async(customer)).data == []
    with pytest.raises(stripe.InvalidRequestError, match="No such coupon: 'SUMMER'"):
        await client.coupons.retrieve_async("SUMMER")
    with pytest.raises(stripe.InvalidRequestError, match="No such tax_id"):
        await client.customers.tax_ids.retrieve_async(customer, "txi_1")
    with pytest.raises(stripe.InvalidRequestError, match="No such customer"):
        await client.customers.tax_ids.list_async("cus_nobody")
    with pytest.raises(stripe.InvalidRequestError, match="No such transfer"):
        await client.transfers.reversals.list_async("tr_1")
    with pytest.raises(stripe.InvalidRequestError, match="Limit must be"):
        await client.coupons.list_async({"limit": 101})
    with pytest.raises(stripe.InvalidRequestError):
        await client.coupons.create_async({"percent_off": 10})


async def test_recurring_prices_are_plans_too(shop: Shop) -> None:
    await shop.client.v1.prices.create_async(
        {"currency": "usd", "unit_amount": 700, "product": await shop.product()}
    )
    price = await shop.client.v1.prices.create_async(
        {
            "currency": "usd",
            "unit_amount": 900,
            "product": await shop.product(),
            "recurring": {"interval": "month", "interval_count": 3},
        }
    )

    (plan,) = (await shop.client.v1.plans.list_async()).data

    assert (plan.id, plan.amount, plan.interval, plan.interval_count) == (
        price.id,
        900,
        "month",
        3,
    )
    assert (await shop.client.v1.plans.retrieve_async(price.id)).to_dict() == plan.to_dict()
    assert (await shop.client.v1.plans.list_async({"product": "prod_other"})).data == []
    once = (await shop.client.v1.prices.list_async({"type": "one_time"})).data[0]
    with pytest.raises(stripe.InvalidRequestError, match="No such plan"):
        await shop.client.v1.plans.retrieve_async(once.id)


async def test_the_items_of_a_subscription_are_listed(shop: Shop) -> None:
    subscription = await shop.subscribes(500)
    (own,) = subscription["items"].data

    (item,) = (
        await shop.client.v1.subscription_items.list_async({"subscription": subscription.id})
    ).data

    assert item.to_dict() == own.to_dict()
    found = await shop.client.v1.subscription_items.retrieve_async(item.id)
    assert found.subscription == subscription.id
    with pytest.raises(stripe.InvalidRequestError, match="No such subscription: 'sub_other'"):
        await shop.client.v1.subscription_items.list_async({"subscription": "sub_other"})
    with pytest.raises(stripe.InvalidRequestError, match="No such subscription_item"):
        await shop.client.v1.subscription_items.retrieve_async("si_other")


async def test_a_payout_goes_to_a_bank_account_of_its_currency(shop: Shop) -> None:
    await shop.gives(5000)
    await shop.pays(await shop.checkout(5000, "eur"))
    await shop.advance(9)

    payouts = await shop.client.v1.payouts.list_async({"expand": ["data.destination"]})

    goals = [payout.destination for payout in payouts.data]
    accounts = [goal for goal in goals if isinstance(goal, stripe.BankAccount)]
    assert len(accounts) == len(goals)
    assert {
        account.currency for account in accounts if isinstance(account, stripe.BankAccount)
    } == {
        "eur",
        "usd",
    }
    own = await shop.client.v1.accounts.retrieve_current_async()
    found = await shop.client.v1.accounts.external_accounts.list_async(own.id)
    assert {account.id for account in found.data} == {account.id for account in accounts}
    with pytest.raises(stripe.InvalidRequestError, match="No such external_account"):
        await shop.client.v1.accounts.external_accounts.retrieve_async(own.id, "ba_other")
    with pytest.raises(stripe.InvalidRequestError, match="No such account"):
        await shop.client.v1.accounts.retrieve_async("acct_other")


async def test_what_never_changes_is_there(shop: Shop) -> None:
    (country,) = (await shop.client.v1.country_specs.list_async()).data
    assert (country.id, "eur" in country.supported_payment_currencies) == ("US", True)
    code = await shop.client.v1.tax_codes.retrieve_async("txcd_00000000")
    assert code.name == "Nontaxable"
    first = (await shop.client.v1.tax_codes.list_async({"limit": 1})).data[0]
    after = (await shop.client.v1.tax_codes.list_async({"starting_after": first.id})).data
    assert first.id not in {each.id for each in after}
    with pytest.raises(stripe.InvalidRequestError, match="No such country_spec"):
        await shop.client.v1.country_specs.retrieve_async("XX")


async def test_the_methods_of_payment_are_those_that_the_owner_has_switched_on(shop: Shop) -> None:
    configurations = shop.client.v1.payment_method_configurations
    shop.sandbox.account.state["payment_methods"] = {"link": True, "apple_pay": False}
    (found,) = (await configurations.list_async({"limit": 1})).data
    assert (found.is_default, found.active) == (True, True)
    for method, value in ((found.card, "on"), (found.link, "on"), (found.apple_pay, "off")):
        assert method is not None
        assert (method.available, method.display_preference.value) == (value == "on", value)
    assert (await configurations.retrieve_async(found.id)).id == found.id
    with pytest.raises(stripe.InvalidRequestError, match="No such payment_method_configuration"):
        await configurations.retrieve_async("pmc_none")
