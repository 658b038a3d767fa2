"""API keys: restricted, expired, rolled, publishable; and what each route and expansion needs."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import stripe

from payments.sandbox import Sandbox, api_keys, permissions, routes
from payments.sandbox.errors import ApiError
from tests.support.shop import START, ManualWallClock, Shop, open_shop

pytestmark = pytest.mark.anyio


@pytest.fixture
async def shop(wall: ManualWallClock) -> AsyncIterator[Shop]:
    """A shop with its full key, at which tests use keys of their own."""
    sandbox = Sandbox(wall=wall, check_contract=True)
    async with open_shop(sandbox, wall) as shop:
        yield shop
    assert sandbox.problems == []


def using(key: str) -> stripe.RequestOptions:
    return {"api_key": key}


def code_of(error: stripe.StripeError) -> str | None:
    """The code of an error; the SDK leaves it out of an AuthenticationError's own."""
    assert error.error is not None
    return getattr(error.error, "code", None)


# ------------------------------------------------------------------ authentication


async def test_an_expired_key_is_refused_by_its_own_code(shop: Shop) -> None:
    key = shop.sandbox.add_key(expires_at=START + timedelta(hours=1))
    await shop.client.v1.balance.retrieve_async(options=using(key))

    shop.wall.advance(timedelta(hours=1))

    with pytest.raises(stripe.AuthenticationError, match="Expired API Key") as refused:
        await shop.client.v1.balance.retrieve_async(options=using(key))
    assert (refused.value.http_status, code_of(refused.value)) == (401, "api_key_expired")
    assert key not in str(refused.value)
    assert key[-4:] in str(refused.value)


async def test_a_rolled_key_goes_on_until_its_end_and_the_new_one_may_do_the_same(
    shop: Shop,
) -> None:
    old = shop.sandbox.add_key(scopes={"balance": "read"})
    new = shop.sandbox.roll_key(old, START + timedelta(days=7))
    balance = shop.client.v1.balance
    for key in (old, new):
        await balance.retrieve_async(options=using(key))

    shop.wall.advance(timedelta(days=7))

    await balance.retrieve_async(options=using(new))
    with pytest.raises(stripe.AuthenticationError):
        await balance.retrieve_async(options=using(old))
    with pytest.raises(stripe.PermissionError):
        await shop.client.v1.charges.list_async(options=using(new))
    with pytest.raises(KeyError):
        shop.sandbox.roll_key("rk_test_unknown")


async def test_a_key_expired_by_hand_is_refused_at_once_and_does_nothing(shop: Shop) -> None:
    key = shop.sandbox.add_key()
    shop.sandbox.expire_key(key)

    with pytest.raises(stripe.AuthenticationError):
        await shop.client.v1.customers.create_async({}, using(key))

    assert (await shop.client.v1.customers.list_async()).data == []


@pytest.mark.parametrize(
    ("key", "code", "words"),
    [
        ("rk_test_unknown1234", None, "Invalid API Key provided: rk_test_*******1234"),
        ("sk_live_unknown1234", None, "Invalid API Key provided: sk_live_*******1234"),
        ("pk_test_unknown1234", "secret_key_required", "publishable API key"),
        ("nonsense", None, "Invalid API Key provided: ****ense"),
    ],
)
async def test_a_key_that_is_not_the_accounts_is_refused(
    shop: Shop, key: str, code: str | None, words: str
) -> None:
    with pytest.raises(stripe.AuthenticationError) as refused:
        await shop.client.v1.balance.retrieve_async(options=using(key))
    assert words in str(refused.value)
    assert code_of(refused.value) == code


async def test_any_test_key_is_taken_only_until_known_keys_are_required(shop: Shop) -> None:
    known = shop.sandbox.add_key("sk_test_known1234")
    await shop.client.v1.balance.retrieve_async(options=using("sk_test_stranger"))

    shop.sandbox.require_known_keys()

    await shop.client.v1.balance.retrieve_async(options=using(known))
    with pytest.raises(stripe.AuthenticationError, match="Invalid API Key"):
        await shop.client.v1.balance.retrieve_async(options=using("sk_test_stranger"))


@pytest.mark.parametrize(
    ("secret", "scopes", "field"),
    [
        ("sk_test_full", {"charge": "read"}, "scopes"),
        ("rk_test_bare", None, "scopes"),
        (None, {"teapot": "read"}, "scopes"),
        (None, {"charge": "admin"}, "scopes"),
        ("sk_live_real", None, "secret"),
        ("sk_test_", None, "secret"),
    ],
)
def test_a_key_that_cannot_be_is_not_added(
    secret: str | None, scopes: dict[str, str] | None, field: str
) -> None:
    sandbox = Sandbox()
    with pytest.raises(ValueError, match=f"^{field}: "):
        sandbox.add_key(secret, scopes=scopes)
    assert api_keys.listed(sandbox.account) == []


# ------------------------------------------------------------------ permissions


async def test_a_missing_permission_is_named_in_stripes_words_and_nothing_is_done(
    shop: Shop,
) -> None:
    key = shop.sandbox.add_key(scopes={"customer": "read"})
    await shop.client.v1.customers.list_async(options=using(key))

    with pytest.raises(stripe.PermissionError) as refused:
        await shop.client.v1.customers.create_async({"email": "not an address"}, using(key))

    assert refused.value.http_status == 403
    assert str(refused.value).endswith(
        f"The provided key 'rk_test_{'*' * (len(key) - 12)}{key[-4:]}' does not have the required "
        "permissions for this endpoint on account 'acct_1SandboxAccount00'. Having the "
        "'rak_customer_write' permission would allow this request to continue."
    )
    assert (await shop.client.v1.customers.list_async()).data == []


async def test_write_allows_to_read_and_some_permissions_imply_others(shop: Shop) -> None:
    writer = shop.sandbox.add_key(scopes={"checkout_session": "write"})
    reader = shop.sandbox.add_key(scopes={"checkout_session": "read"})

    for key in (writer, reader):
        await shop.client.v1.checkout.sessions.list_async(options=using(key))
        await shop.client.v1.payment_intents.list_async(options=using(key))
        with pytest.raises(stripe.PermissionError, match="rak_payment_intent_write"):
            await shop.client.v1.payment_intents.create_async(
                {"amount": 500, "currency": "usd"}, using(key)
            )
        with pytest.raises(stripe.PermissionError, match="rak_charge_read"):
            await shop.client.v1.charges.list_async(options=using(key))
    other = shop.sandbox.add_key(scopes={"customer": "read"})
    both = "Having the 'rak_checkout_session_read', 'rak_payment_intent_read' permissions would"
    with pytest.raises(stripe.PermissionError, match=both):
        await shop.client.v1.payment_intents.list_async(options=using(other))


async def test_an_expanded_object_needs_its_own_permission_before_anything_is_done(
    shop: Shop,
) -> None:
    key = shop.sandbox.add_key(scopes={"subscription": "write"})
    subscription = await shop.subscribes()
    service = shop.client.v1.subscriptions
    await service.retrieve_async(subscription.id, {"expand": ["items.data.price"]}, using(key))

    with pytest.raises(stripe.PermissionError, match="rak_product_read"):
        await service.retrieve_async(
            subscription.id, {"expand": ["items.data.price.product"]}, using(key)
        )
    with pytest.raises(stripe.PermissionError, match="rak_customer_read"):
        await service.update_async(
            subscription.id,
            {"metadata": {"a": "b"}, "expand": ["latest_invoice.customer"]},
            using(key),
        )

    assert (await shop.subscription(subscription.id)).metadata.to_dict() == {}
    both = shop.sandbox.add_key(
        scopes={"subscription": "write", "invoice": "read", "customer": "read"}
    )
    await service.retrieve_async(
        subscription.id, {"expand": ["latest_invoice.customer"]}, using(both)
    )


async def test_a_refusal_is_not_stored_under_its_idempotency_key_nor_a_replay_permitted(
    shop: Shop,
) -> None:
    customers = shop.client.v1.customers
    key = shop.sandbox.add_key(scopes={"balance": "read"})
    with pytest.raises(stripe.PermissionError):
        await customers.create_async({}, {"api_key": key, "idempotency_key": "once"})

    assert await customers.create_async({}, {"idempotency_key": "once"})
    with pytest.raises(stripe.PermissionError):
        await customers.create_async({}, {"api_key": key, "idempotency_key": "once"})


async def test_the_log_of_requests_says_what_was_needed_of_whom(shop: Shop) -> None:
    key = shop.sandbox.add_key(scopes={"charge": "read", "balance_transaction_source": "read"})
    await shop.client.v1.charges.list_async(
        {"expand": ["data.balance_transaction", "data.refunds"]}
    )
    with pytest.raises(stripe.PermissionError):
        await shop.client.v1.refunds.create_async({"charge": "ch_1"}, using(key))

    full, refused = shop.sandbox.requests
    assert full.permission == "charge_read"
    assert full.expand_permissions == ("balance_transaction_source_read", "refund_read")
    assert (refused.permission, refused.status) == ("refund_write", 403)
    assert (refused.key, key in repr(refused)) == (api_keys.mask(key), False)


def test_every_route_has_a_permission() -> None:
    for method, template in routes.templates():
        permission = permissions.of_route(method, template)
        resource, _, access = permission.rpartition("_")
        assert resource in permissions.RESOURCES
        assert access in permissions.ACCESSES
    with pytest.raises(LookupError, match="/v1/teapots"):
        permissions.of_route("GET", "/v1/teapots/{}")


@pytest.mark.parametrize(
    ("method", "template", "path", "needed"),
    [
        ("GET", "/v1/balance_transactions", "data.source", ["balance_transaction_source_read"]),
        ("GET", "/v1/charges/{}", "refunds", ["refund_read"]),
        ("GET", "/v1/invoices", "data.payments", []),
        ("POST", "/v1/checkout/sessions", "line_items", []),
        (
            "GET",
            "/v1/checkout/sessions/{}",
            "subscription.latest_invoice.payments.data.payment.payment_intent",
            ["invoice_read", "payment_intent_read", "subscription_read"],
        ),
        ("GET", "/v1/customers", "data.favourite_colour", []),
        ("GET", "/v1/teapots", "data.customer", []),
    ],
)
def test_what_an_expansion_needs_follows_from_the_types_of_the_sdk(
    method: str, template: str, path: str, needed: list[str]
) -> None:
    assert list(permissions.of_expansions(method, template, [path])) == needed


# ------------------------------------------------------------------ options and saving


def test_a_key_of_the_command_line_has_its_permissions_and_shuts_out_all_others() -> None:
    account = Sandbox().account
    key = api_keys.add_from_option(
        account, "rk_test_tool1234:rak_charge_read,invoice_read,invoice:write"
    )

    assert key.scopes == {"charge": "read", "invoice": "write"}
    assert api_keys.authenticate(account, "Bearer rk_test_tool1234") == key
    with pytest.raises(ApiError):
        api_keys.authenticate(account, "Bearer sk_test_any")
    for wrong in ("rk_test_tool1234", "rk_test_tool1234:", "sk_test_a1:teapot_read", "x:charge"):
        with pytest.raises(ValueError, match=r"^(scopes|secret): "):
            api_keys.add_from_option(account, wrong)


async def test_keys_are_saved_with_the_account(shop: Shop, tmp_path: Path) -> None:
    key = shop.sandbox.add_key(scopes={"balance": "read"})
    shop.sandbox.save(tmp_path / "state.json")
    shop.sandbox.expire_key(key)

    shop.sandbox.load(tmp_path / "state.json")

    await shop.client.v1.balance.retrieve_async(options=using(key))
    with pytest.raises(stripe.PermissionError):
        await shop.client.v1.charges.list_async(options=using(key))
