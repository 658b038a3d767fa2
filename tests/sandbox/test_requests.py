"""Requests as they come over the wire: URLs, versions, forms."""

import io
import json

import aiohttp
import pytest

from payments.sandbox.account_settings import ACCOUNT_ID
from payments.sandbox.form_encoding import JsonObject
from tests.support.shop import Shop

pytestmark = pytest.mark.anyio

KEY = {"Authorization": "Bearer sk_test_x"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


async def ask(
    shop: Shop,
    path: str,
    *,
    method: str = "GET",
    version: str | None = None,
    body: bytes | None = None,
) -> tuple[int, JsonObject]:
    """The status and the answer of a request without the SDK."""
    headers = {**KEY, **FORM, **({"Stripe-Version": version} if version else {})}
    async with (
        aiohttp.ClientSession() as client,
        client.request(
            method, shop.sandbox.url + path, data=io.BytesIO(body or b""), headers=headers
        ) as response,
    ):
        answer: JsonObject = json.loads(await response.read())
        return response.status, answer


# ------------------------------------------------------------------ URLs


@pytest.mark.parametrize(
    ("method", "path", "named"),
    [
        ("GET", "/v1/products/search?query=a", "GET /v1/products/search"),
        ("GET", "/v1/customers/search", "GET /v1/customers/search"),
        ("GET", "/v1/invoices/search", "GET /v1/invoices/search"),
        ("POST", "/v1/payment_intents/pi_1/capture", "POST /v1/payment_intents/…/capture"),
        ("POST", "/v1/accounts", "POST /v1/accounts"),
    ],
)
async def test_a_route_of_stripes_that_is_not_done_says_so(
    shop: Shop, method: str, path: str, named: str
) -> None:
    status, answer = await ask(shop, path, method=method)
    assert (status, answer["error"]["code"]) == (404, "sandbox_unsupported")
    assert answer["error"]["message"] == f"The sandbox does not do `{named}` yet."


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/teapots"), ("DELETE", "/v1/charges/ch_1"), ("GET", "/v1/customers/a/b/c/d")],
)
async def test_a_route_that_stripe_has_not_is_not_recognised(
    shop: Shop, method: str, path: str
) -> None:
    status, answer = await ask(shop, path, method=method)
    assert status == 404
    assert answer["error"]["message"].startswith(f"Unrecognized request URL ({method}: {path})")


async def test_an_id_that_is_none_is_named(shop: Shop) -> None:
    status, answer = await ask(shop, "/v1/products/prod_none")
    assert (status, answer["error"]["message"]) == (404, "No such product: 'prod_none'")


@pytest.mark.parametrize(("account", "status"), [(ACCOUNT_ID, 200), ("acct_another", 403)])
async def test_a_request_for_another_account_is_refused(
    shop: Shop, account: str, status: int
) -> None:
    headers = {**KEY, "Stripe-Account": account}
    async with (
        aiohttp.ClientSession() as client,
        client.get(f"{shop.sandbox.url}/v1/charges", headers=headers) as response,
    ):
        assert response.status == status
        error = (await response.json()).get("error", {})
        assert error.get("code") == (None if status == 200 else "account_invalid")


@pytest.mark.parametrize("body", [b"a=1&a[b]=2", b"expand=x", b"description=%ff"])
async def test_a_wrong_request_meets_a_fault_like_any_other(shop: Shop, body: bytes) -> None:
    shop.sandbox.faults.add("POST", "/v1/customers", "status_500")
    status, answer = await ask(shop, "/v1/customers", method="POST", body=body)
    assert (status, answer["error"]["type"]) == (500, "api_error")


# ------------------------------------------------------------------ versions


@pytest.mark.parametrize(
    ("version", "code", "message"),
    [
        ("garbage", None, "Invalid Stripe API version: garbage"),
        ("2026-10-28.endivia", None, "Invalid Stripe API version: 2026-10-28.endivia"),
        ("2026-10-28", "sandbox_unsupported", "does not do `API version 2026-10-28` yet"),
        ("2020-08-27", "sandbox_unsupported", "does not do `API version 2020-08-27` yet"),
        ("2027-01-27.endive", "sandbox_unsupported", "does not do `API version 2027-01-27"),
        ("2024-06-20.basil", "sandbox_unsupported", "does not do `API version 2024-06-20.basil"),
    ],
)
async def test_a_version_that_is_not_rendered_is_refused(
    shop: Shop, version: str, code: str | None, message: str
) -> None:
    status, answer = await ask(shop, "/v1/customers", version=version)
    assert status == 400
    assert answer["error"].get("code") == code
    assert message in answer["error"]["message"]


@pytest.mark.parametrize(
    ("version", "ui_mode", "has_old_fields"),
    [
        ("2026-10-28.endive", "hosted_page", False),
        ("2026-03-25.dahlia", "hosted_page", False),
        ("2025-09-30.clover", "hosted", False),
        ("2025-02-24.acacia", "hosted", True),
        ("2024-06-20", "hosted", True),
    ],
)
async def test_an_older_version_gets_older_objects(
    shop: Shop, version: str, ui_mode: str, *, has_old_fields: bool
) -> None:
    session = await shop.gives(500, "month")

    _, page = await ask(
        shop, f"/v1/checkout/sessions/{session.id}?expand[]=invoice", version=version
    )
    _, listed = await ask(shop, "/v1/subscriptions", version=version)

    assert page["ui_mode"] == ui_mode
    (subscription,) = listed["data"]
    assert ("current_period_end" in subscription) is has_old_fields
    assert page["invoice"].get("subscription") == (subscription["id"] if has_old_fields else None)


async def test_names_and_types_are_checked_at_every_version(shop: Shop) -> None:
    for version in ("2026-10-28.endive", "2024-06-20", None):
        for body, code in (
            (b"favourite=red", "parameter_unknown"),
            (b"amount=abc&currency=usd", "parameter_invalid_integer"),
            (b"amount=500&currency=usd&metadata=x", None),
        ):
            status, answer = await ask(
                shop, "/v1/payment_intents", method="POST", version=version, body=body
            )
            assert (status, answer["error"].get("code")) == (400, code), (version, body)
    shop.sandbox.problems.clear()


async def test_what_endive_removed_is_acted_on_for_older_clients(shop: Shop) -> None:
    form = b"amount=500&currency=usd&payment_method_types[]="
    for version in (None, "2025-09-30.clover"):
        status, intent = await ask(
            shop, "/v1/payment_intents", method="POST", version=version, body=form + b"card"
        )
        assert (status, intent["payment_method_types"]) == (200, ["card"])
        status, answer = await ask(
            shop, "/v1/payment_intents", method="POST", version=version, body=form + b"klarna"
        )
        assert (status, answer["error"]["code"]) == (400, "sandbox_unsupported")


# ------------------------------------------------------------------ forms


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"metadata[2026]=x", {"2026": "x"}),
        (b"metadata[0]=x&metadata[1]=y", {"0": "x", "1": "y"}),
        ("metadata[ключ]=значение".encode(), {"ключ": "значение"}),
        (b"metadata[a%5Bb%5D]=x", None),
    ],
)
async def test_a_map_keeps_the_keys_that_it_is_sent(
    shop: Shop, body: bytes, expected: dict[str, str] | None
) -> None:
    status, answer = await ask(shop, "/v1/customers", method="POST", body=body)
    assert (status, answer.get("metadata")) == ((200, expected) if expected else (400, None))


@pytest.mark.parametrize("brackets", ["[]", "[0]", "[7]"])
async def test_an_array_is_one_however_it_is_counted(shop: Shop, brackets: str) -> None:
    product = await shop.product()
    line = {"[price_data][currency]": "usd", "[price_data][unit_amount]": "500",
            "[price_data][product]": product, "[quantity]": "2"}  # fmt: skip
    fields = {f"line_items{brackets}{name}": value for name, value in line.items()}
    form = {"mode": "payment", "success_url": "https://shop.example/", **fields}
    body = "&".join(f"{name}={value}" for name, value in form.items()).encode()

    status, session = await ask(shop, "/v1/checkout/sessions", method="POST", body=body)
    assert (status, session.get("amount_total")) == (200, 1000), session


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"description=\xff\xfe", 400),
        (b"description=%ff", 400),
        (b"description=%00", 400),
        (b"a=1&a[b]=2", 400),
        (b"a" + b"[b]" * 30 + b"=1", 400),
        (b"&".join(b"metadata[%d]=1" % n for n in range(2500)), 400),
        (b"[]=1", 400),
        (b'{"description": "json"}', 400),
        (b"description=" + b"x" * 2_000_000, 413),
    ],
)
async def test_a_form_that_is_none_is_refused(shop: Shop, body: bytes, status: int) -> None:
    answered, answer = await ask(shop, "/v1/customers", method="POST", body=body)
    assert answered == status
    assert answer["error"]["type"] == "invalid_request_error"
    assert (await shop.client.v1.customers.list_async()).data == []
