"""The API: keys, versions, parameters, idempotency, expansion, lists."""

import aiohttp
import pytest
import stripe

from tests.support.shop import Shop

pytestmark = pytest.mark.anyio

PINNED = {"Authorization": "Bearer sk_test_x", "Stripe-Version": "2026-10-28.endive"}
UNPINNED = {"Authorization": "Bearer sk_test_x"}


async def post(
    shop: Shop, path: str, form: dict[str, str], headers: dict[str, str]
) -> tuple[int, dict[str, dict[str, str]]]:
    """Send a request without the SDK; returns the status and the body."""
    async with (
        aiohttp.ClientSession() as client,
        client.post(shop.sandbox.url + path, data=form, headers=headers) as response,
    ):
        return response.status, await response.json()


@pytest.mark.parametrize("key", ["sk_live_real", "pk_test_public", "nonsense"])
async def test_only_a_test_key_is_let_in(shop: Shop, key: str) -> None:
    with pytest.raises(stripe.AuthenticationError):
        await shop.client.v1.balance.retrieve_async(options={"api_key": key})


async def test_a_request_without_a_key_is_refused(shop: Shop) -> None:
    status, answer = await post(shop, "/v1/customers", {}, {})
    assert (status, answer["error"]["type"]) == (401, "invalid_request_error")


async def test_every_answer_has_a_request_id_and_echoes_the_key_and_version(shop: Shop) -> None:
    customer = await shop.client.v1.customers.create_async({}, {"idempotency_key": "k1"})

    answer = customer.last_response
    assert answer is not None
    assert answer.request_id
    assert answer.request_id.startswith("req_")
    assert answer.idempotency_key == "k1"
    assert answer.headers["Stripe-Version"] == "2026-10-28.endive"


async def test_what_is_not_there_is_404(shop: Shop) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="No such payment_intent") as refused:
        await shop.client.v1.payment_intents.retrieve_async("pi_nothing")
    assert (refused.value.http_status, refused.value.code) == (404, "resource_missing")

    status, answer = await post(shop, "/v1/teapots", {}, UNPINNED)
    assert status == 404
    assert "Unrecognized request URL" in answer["error"]["message"]


async def test_an_unknown_parameter_is_refused_at_the_pinned_version(shop: Shop) -> None:
    status, answer = await post(shop, "/v1/customers", {"favourite_colour": "red"}, PINNED)

    assert (status, answer["error"]["code"]) == (400, "parameter_unknown")
    assert answer["error"]["param"] == "favourite_colour"
    assert shop.sandbox.problems, "and whoever runs the tests hears of it"
    shop.sandbox.problems.clear()


async def test_what_endive_removed_is_refused_only_to_those_who_name_endive(shop: Shop) -> None:
    form = {"amount": "500", "currency": "usd", "payment_method_types[]": "card"}

    status, answer = await post(shop, "/v1/payment_intents", form, PINNED)
    assert (status, answer["error"]["code"]) == (
        400,
        "payment_method_types_no_longer_supported",
    )
    shop.sandbox.problems.clear()

    status, _ = await post(shop, "/v1/payment_intents", form, UNPINNED)
    assert status == 200


async def test_a_missing_parameter_is_named(shop: Shop) -> None:
    status, answer = await post(shop, "/v1/products", {}, UNPINNED)
    assert (status, answer["error"]["code"]) == (400, "parameter_missing")
    assert answer["error"]["param"] == "name"


@pytest.mark.parametrize(
    ("form", "param"),
    [
        ({"amount": "5.00", "currency": "usd"}, "amount"),
        ({"amount": "500", "currency": "usd", "confirm": "yes"}, "confirm"),
        ({"amount": "500", "currency": "usd", "metadata": "x"}, "metadata"),
        ({"amount": "500", "currency": "usd", "expand": "x"}, "expand"),
    ],
)
async def test_a_parameter_of_the_wrong_shape_is_named(
    shop: Shop, form: dict[str, str], param: str
) -> None:
    status, answer = await post(shop, "/v1/payment_intents", form, UNPINNED)
    assert (status, answer["error"]["param"]) == (400, param)


async def test_the_same_key_and_request_is_answered_once_and_replayed(shop: Shop) -> None:
    options: stripe.RequestOptions = {"idempotency_key": "gift-1"}
    first = await shop.client.v1.customers.create_async({"email": "a@example.org"}, options)
    again = await shop.client.v1.customers.create_async({"email": "a@example.org"}, options)

    assert again.id == first.id
    assert again.last_response is not None
    assert again.last_response.headers["Idempotent-Replayed"] == "true"
    assert len((await shop.client.v1.customers.list_async()).data) == 1


async def test_the_same_key_with_another_request_is_refused(shop: Shop) -> None:
    options: stripe.RequestOptions = {"idempotency_key": "gift-1"}
    await shop.client.v1.customers.create_async({"email": "a@example.org"}, options)

    with pytest.raises(stripe.IdempotencyError):
        await shop.client.v1.customers.create_async({"email": "b@example.org"}, options)


async def test_a_card_error_is_replayed(shop: Shop) -> None:
    options: stripe.RequestOptions = {"idempotency_key": "gift-1"}
    params: stripe.params.PaymentIntentCreateParams = {
        "amount": 500,
        "currency": "usd",
        "confirm": True,
        "payment_method": "pm_card_chargeCustomerFail",
    }
    for _ in range(2):
        with pytest.raises(stripe.CardError) as refused:
            await shop.client.v1.payment_intents.create_async(params, options)
        assert refused.value.code == "card_declined"
    assert len((await shop.client.v1.charges.list_async()).data) == 1


async def test_a_refusal_is_replayed_when_its_execution_had_begun(shop: Shop) -> None:
    customers, invoices = shop.client.v1.customers, shop.client.v1.invoices
    customer = await customers.create_async({"name": "Ann"})
    await shop.client.v1.invoice_items.create_async(
        {"customer": customer.id, "amount": 900, "currency": "usd"}
    )
    draft = await invoices.create_async(
        {"customer": customer.id, "pending_invoice_items_behavior": "include"}
    )

    async def ask(key: str) -> stripe.InvalidRequestError:
        service = invoices.void_invoice_async if key == "draft" else customers.update_async
        object_id = draft.id if key == "draft" else "cus_none"
        with pytest.raises(stripe.InvalidRequestError) as refused:
            await service(object_id, {}, {"idempotency_key": key})
        return refused.value

    first = {key: await ask(key) for key in ("draft", "missing")}
    assert [error.http_status for error in first.values()] == [400, 404]
    await invoices.finalize_invoice_async(draft.id)
    for key, error in first.items():
        again = await ask(key)
        assert again.json_body == error.json_body
        assert again.headers is not None
        assert again.headers["Idempotent-Replayed"] == "true"
    done = await invoices.void_invoice_async(draft.id, {}, {"idempotency_key": "another"})
    assert done.status == "void"


@pytest.mark.parametrize(
    ("headers", "path", "form", "status"),
    [
        ({}, "/v1/customers", {"nickname": "x"}, 400),
        ({}, "/v1/customers", {"metadata": "x"}, 400),
        ({}, "/v1/customers", {"expand[]": "nickname"}, 400),
        ({"Stripe-Version": "1999-01-01"}, "/v1/customers", {}, 400),
        ({"Stripe-Account": "acct_other"}, "/v1/customers", {}, 403),
        ({"Authorization": "Bearer sk_none"}, "/v1/customers", {}, 401),
        ({}, "/v1/custom", {}, 404),
    ],
)
async def test_a_refusal_before_execution_leaves_its_key_free(
    shop: Shop, headers: dict[str, str], path: str, form: dict[str, str], status: int
) -> None:
    key = UNPINNED | {"Idempotency-Key": "form-1"}
    refused, _ = await post(shop, path, form, key | headers)
    assert refused == status
    assert (await post(shop, "/v1/customers", {"name": "Ann"}, key))[0] == 200


async def test_a_key_is_forgotten_after_a_day(shop: Shop) -> None:
    options: stripe.RequestOptions = {"idempotency_key": "gift-1"}
    first = await shop.client.v1.customers.create_async({}, options)
    shop.wall.advance(shop.wall.now - shop.wall.now.replace(day=1))

    second = await shop.client.v1.customers.create_async({"email": "b@example.org"}, options)

    assert second.id != first.id


async def test_lists_are_paged_newest_first_in_both_directions(shop: Shop) -> None:
    made = [(await shop.client.v1.customers.create_async({})).id for _ in range(25)]
    newest_first = made[::-1]
    service = shop.client.v1.customers

    first = await service.list_async()
    assert [c.id for c in first.data] == newest_first[:10]
    assert first.has_more
    everyone = [c.id async for c in (await service.list_async({"limit": 7})).auto_paging_iter()]
    assert everyone == newest_first
    before = await service.list_async({"ending_before": made[5], "limit": 3})
    assert [c.id for c in before.data] == [made[8], made[7], made[6]]
    last = await service.list_async({"starting_after": made[2]})
    assert ([c.id for c in last.data], last.has_more) == ([made[1], made[0]], False)


@pytest.mark.parametrize("params", [{"limit": 0}, {"limit": 101}, {"starting_after": "cus_no"}])
async def test_a_page_that_cannot_be_is_refused(
    shop: Shop, params: stripe.params.CustomerListParams
) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        await shop.client.v1.customers.list_async(params)


async def test_lists_are_filtered_by_when_and_by_whom(shop: Shop) -> None:
    await shop.gives(500)
    await shop.advance(2)
    since = int(shop.sandbox.clock.now().timestamp())
    second = await shop.subscribes()

    charges = shop.client.v1.charges
    assert len((await charges.list_async({"created": {"gte": since}})).data) == 1
    assert len((await charges.list_async({"created": {"lt": since}})).data) == 1
    assert len((await charges.list_async({"created": {"gt": since - 1, "lte": since}})).data) == 1
    mine = await charges.list_async({"customer": str(second.customer)})
    assert len(mine.data) == 1
    assert (await charges.list_async({"customer": "cus_nobody"})).data == []


async def test_metadata_is_merged_and_unset(shop: Shop) -> None:
    service = shop.client.v1.customers
    customer = await service.create_async({"metadata": {"a": "1", "b": "2"}})

    merged = await service.update_async(customer.id, {"metadata": {"a": "", "c": "3"}})
    assert merged.metadata is not None
    assert merged.metadata.to_dict() == {"b": "2", "c": "3"}
    emptied = await service.update_async(customer.id, {"metadata": ""})
    assert emptied.metadata is not None
    assert emptied.metadata.to_dict() == {}


async def test_requests_are_counted(shop: Shop) -> None:
    service = shop.client.v1.customers
    await service.create_async({"email": "a@example.org"}, {"idempotency_key": "k"})
    with pytest.raises(stripe.InvalidRequestError):
        await shop.client.v1.customers.retrieve_async("cus_nobody")

    first, second = shop.sandbox.requests
    assert (first.method, first.path, first.status) == ("POST", "/v1/customers", 200)
    assert (first.params, first.idempotency_key) == ({"email": "a@example.org"}, "k")
    assert (second.method, second.status) == ("GET", 404)


async def test_the_account_says_who_it_is(shop: Shop) -> None:
    account = await shop.client.v1.accounts.retrieve_current_async()
    assert account.id.startswith("acct_")
    assert account.default_currency == "usd"


async def test_a_card_is_charged_through_the_api_and_asks_for_authentication(shop: Shop) -> None:
    service = shop.client.v1.payment_intents
    method = await shop.client.v1.payment_methods.create_async(
        {"type": "card", "card": {"token": "tok_visa"}}
    )
    intent = await service.create_async({"amount": 500, "currency": "eur"})

    paid = await service.confirm_async(intent.id, {"payment_method": method.id})
    unauthenticated = await service.create_async(
        {
            "amount": 500,
            "currency": "eur",
            "confirm": True,
            "payment_method": "pm_card_authenticationRequired",
        }
    )

    assert paid.status == "succeeded"
    assert unauthenticated.status == "requires_action"
    cancelled = await service.cancel_async(unauthenticated.id)
    assert cancelled.status == "canceled"
    with pytest.raises(stripe.InvalidRequestError, match="status of succeeded"):
        await service.cancel_async(paid.id)
    with pytest.raises(stripe.InvalidRequestError, match="status of canceled"):
        await service.confirm_async(unauthenticated.id)


async def test_a_payment_method_belongs_to_one_customer_and_once_detached_to_none(
    shop: Shop,
) -> None:
    ours, theirs = [await shop.client.v1.customers.create_async({}) for _ in range(2)]
    service = shop.client.v1.payment_methods
    method = await service.attach_async("pm_card_visa", {"customer": ours.id})

    listed = await shop.client.v1.customers.payment_methods.list_async(ours.id)
    assert [m.id for m in listed.data] == [method.id]
    with pytest.raises(stripe.InvalidRequestError, match="already been attached"):
        await service.attach_async(method.id, {"customer": theirs.id})
    await service.detach_async(method.id)
    assert (await service.list_async({"customer": ours.id})).data == []
    with pytest.raises(stripe.InvalidRequestError):
        await service.attach_async(method.id, {"customer": theirs.id})
    with pytest.raises(stripe.CardError):
        await service.attach_async("pm_card_chargeDeclined", {"customer": ours.id})


async def test_products_and_prices_are_created_updated_and_stored(shop: Shop) -> None:
    product = await shop.client.v1.products.create_async({"name": "Membership"})
    price = await shop.client.v1.prices.create_async(
        {"currency": "usd", "unit_amount": 500, "product": product.id, "lookup_key": "member"}
    )

    renamed = await shop.client.v1.products.update_async(product.id, {"name": "Friendship"})
    listed = await shop.client.v1.prices.list_async({"lookup_keys": ["member"]})

    assert renamed.name == "Friendship"
    assert [p.id for p in listed.data] == [price.id]
    retired = await shop.client.v1.prices.update_async(price.id, {"active": False})
    assert not retired.active
    assert (await shop.client.v1.prices.list_async({"active": True})).data == []
    with pytest.raises(stripe.InvalidRequestError, match="one or more prices"):
        await shop.client.v1.products.delete_async(product.id)


async def test_a_list_is_not_filtered_by_what_the_sandbox_does_not_know(shop: Shop) -> None:
    with pytest.raises(stripe.InvalidRequestError, match=r"does not do `arrival_date.gte.`"):
        await shop.client.v1.payouts.list_async({"arrival_date": {"gte": 1}})


async def test_a_customer_can_only_default_to_a_card_of_their_own(shop: Shop) -> None:
    customer = await shop.client.v1.customers.create_async({"payment_method": "pm_card_visa"})
    (card,) = (await shop.client.v1.customers.payment_methods.list_async(customer.id)).data
    service = shop.client.v1.customers

    updated = await service.update_async(
        customer.id, {"invoice_settings": {"default_payment_method": card.id}}
    )
    assert updated.invoice_settings is not None
    assert updated.invoice_settings.default_payment_method == card.id
    with pytest.raises(stripe.InvalidRequestError, match="does not have a payment method"):
        await service.update_async(
            customer.id, {"invoice_settings": {"default_payment_method": "pm_card_visa"}}
        )


async def test_a_fault_of_the_sandboxes_own_is_an_api_error_and_a_problem(shop: Shop) -> None:
    customer = await shop.client.v1.customers.create_async({})
    del shop.sandbox.account.store.objects[customer.id]["metadata"]

    status, answer = await post(shop, f"/v1/customers/{customer.id}", {"name": "A"}, UNPINNED)

    assert (status, answer["error"]["type"]) == (500, "api_error")
    assert len(shop.sandbox.problems) == 1
    shop.sandbox.problems.clear()
