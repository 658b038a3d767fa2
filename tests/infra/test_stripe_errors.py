"""Every error of Stripe's SDK has a class of ours, and says what happened to the money."""

import inspect
from collections.abc import Callable
from datetime import timedelta

import pytest
import stripe

from payments.core.errors import (
    CardDeclined,
    PaymentsError,
    StripeBusy,
    StripeKeyRefused,
    StripePermissionMissing,
    StripeRejected,
    StripeUnavailable,
)
from payments.giving import contribution_start
from payments.infra import stripe_client, stripe_health
from tests.support.donor import SAME_ORIGIN_HEADERS, Donor, account_page, subscription_id_of
from tests.support.newsroom import Newsroom
from tests.support.page import Page
from tests.support.stripe_keys import key_without

OURS: dict[type[stripe.StripeError], type[PaymentsError]] = {
    stripe.APIConnectionError: StripeUnavailable,
    stripe.APIError: StripeUnavailable,
    stripe.RateLimitError: StripeBusy,
    stripe.AuthenticationError: StripeKeyRefused,
    stripe.PermissionError: StripePermissionMissing,
    stripe.CardError: CardDeclined,
}


def sdk_errors() -> list[type[stripe.StripeError]]:
    """Every class of error that the SDK declares."""
    found, left = [], [stripe.StripeError]
    while left:
        one = left.pop()
        left += one.__subclasses__()
        found.append(one)
    return sorted(found, key=lambda one: one.__name__)


def example(error_class: type[stripe.StripeError]) -> stripe.StripeError:
    parameters = list(inspect.signature(error_class.__init__).parameters.values())[1:]
    texts = [
        one.name
        for one in parameters
        if one.name in ("message", "description") or one.default is inspect.Parameter.empty
    ]
    make: Callable[..., stripe.StripeError] = error_class
    return make(**dict.fromkeys(texts, "a message of Stripe's"))


@pytest.mark.parametrize("error_class", sdk_errors(), ids=lambda one: one.__name__)
def test_each_error_of_the_sdk_has_one_of_ours(error_class: type[stripe.StripeError]) -> None:
    ours = stripe_client.as_payments_error(example(error_class))
    assert type(ours) is OURS.get(error_class, StripeRejected)
    assert "othing was charged." in ours.detail
    assert ours.status in ((402, 503) if error_class in OURS else (502,))
    assert "Stripe's" not in ours.detail


@pytest.mark.parametrize("error_class", sdk_errors(), ids=lambda one: one.__name__)
def test_only_what_a_caller_answers_leaves_the_client_as_it_is(
    error_class: type[stripe.StripeError],
) -> None:
    answered = issubclass(error_class, stripe.InvalidRequestError | stripe.CardError)
    with (
        pytest.raises(error_class if answered else PaymentsError),
        stripe_client.translate_errors(),
    ):
        raise example(error_class)


def test_a_missing_permission_is_named_and_nothing_else_of_the_text() -> None:
    text = (
        "The provided key 'rk_test_*1234' does not have the required permissions for this endpoint"
        " on account 'acct_1'. Having the 'rak_charge_read' permission would allow this request."
    )
    error = stripe_client.as_payments_error(stripe.PermissionError(text))
    assert isinstance(error, StripePermissionMissing)
    assert error.permission == "rak_charge_read"
    assert "acct_1" not in f"{error.detail} {error.operator_detail}"
    unnamed = stripe_client.as_payments_error(stripe.PermissionError("no"))
    assert isinstance(unnamed, StripePermissionMissing)
    assert unnamed.permission == stripe_client.UNNAMED_PERMISSION


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("change", "typed"),
    [
        ("amount", {"amount": "7.70"}),
        ("frequency", {"amount": "77.70"}),
        ("pause", {"months": "3"}),
        ("skip", {}),
    ],
)
async def test_a_change_that_stripe_does_not_take_leaves_the_form_filled(
    donor: Donor, change: str, typed: dict[str, str]
) -> None:
    contribution = await donor.gives(500)
    await donor.signs_in()
    path = f"{account_page(contribution)}/{change}"
    page = await donor.opens(path)
    donor.room.sandbox.faults.add("*", "/v1/subscriptions/", "rate_limited", remaining=1)
    answer = await donor.submits(page, path, **typed)
    assert answer.status_code == 503
    assert "Nothing was charged." in answer.text
    again = await donor.web.post(
        path,
        data=Page(answer.text).form(path).submission(),
        headers=SAME_ORIGIN_HEADERS,
    )
    assert again.status_code == 303


@pytest.mark.anyio
async def test_a_refusal_that_no_room_answers_is_no_bug_of_ours(donor: Donor) -> None:
    contribution = await donor.gives(500)
    await donor.signs_in()
    path = f"{account_page(contribution)}/amount"
    page = await donor.opens(path)
    subscription_id = await subscription_id_of(donor.room)
    at_stripe = donor.room.sandbox.account.store.objects.pop(subscription_id)
    answer = await donor.submits(page, path, amount="7.70")
    donor.room.sandbox.account.store.objects[subscription_id] = at_stripe
    assert answer.status_code == 502
    assert "Nothing was charged." in answer.text


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("lacking", "alert"),
    [
        ("key", ("stripe_key_refused", "stripe_api_key")),
        ("permission", ("stripe_permission_missing", "rak_checkout_session_write")),
    ],
)
async def test_a_key_that_may_not_take_gifts_is_no_bug_and_a_person_is_called(
    newsroom: Newsroom, lacking: str, alert: tuple[str, str]
) -> None:
    page = Page((await newsroom.web.get("/donate")).text)
    if lacking == "key":
        newsroom.sandbox.expire_key(newsroom.settings.stripe_api_key.get_secret_value())
    else:
        key_without(newsroom, "checkout_session")
    program = await newsroom.requests_contribution()
    assert (program.status_code, "othing was charged." in program.text) == (503, True)
    typed = {"frequency": "annual", "amount_annual": "other", "other_annual": "77.70"}
    answer = await newsroom.web.post(
        "/donate", data=page.form("/donate").submission(**typed), headers=SAME_ORIGIN_HEADERS
    )
    assert (answer.status_code, "othing was charged." in answer.text) == (503, True)
    again = Page(answer.text).form("/donate").submission()
    assert again.items() >= typed.items()
    await newsroom.advances_time(timedelta(minutes=2))
    resume = contribution_start.resume_started
    if lacking == "key":
        with pytest.raises(StripeKeyRefused):
            await resume(newsroom.ctx)
    else:
        assert await resume(newsroom.ctx) == 0  # and the others are gone on with
    opened = "SELECT kind, object_id FROM alerts WHERE closed_at IS NULL"
    assert await newsroom.rows(opened) == [alert]

    key_without(newsroom)  # mended
    assert await stripe_health.resume_if_well(newsroom.ctx)
    assert await resume(newsroom.ctx) == 2
    assert await newsroom.rows(opened) == []
    sent = await newsroom.web.post("/donate", data=again, headers=SAME_ORIGIN_HEADERS)
    assert sent.status_code == 303
