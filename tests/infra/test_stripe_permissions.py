"""The key needs exactly the permissions that are listed, printed, documented and probed."""

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from payments.cli import main
from payments.core.errors import StripeKeyRefused, StripePermissionMissing
from payments.infra import stripe_health, stripe_permissions
from payments.infra.stripe_client import translate_errors
from payments.infra.stripe_permissions import PERMISSIONS, Permission
from payments.ops import doctor
from payments.sandbox import permissions
from tests.support import stripe_usage
from tests.support.newsroom import Newsroom
from tests.support.stripe_keys import key_without, restrict_key

ROOT = Path(__file__).parents[2]


def test_the_list_has_each_resource_once_and_nothing_that_another_implies() -> None:
    scopes = dict(stripe_permissions.scopes())
    assert len(scopes) == len(PERMISSIONS)
    assert set(scopes) <= permissions.RESOURCES
    for one in PERMISSIONS:
        others = {name: access for name, access in scopes.items() if name != one.resource}
        assert not permissions.allows(others, f"{one.resource}_{one.access}"), one.name


@pytest.mark.parametrize("file", ["README.md", ".env.example"])
def test_the_documents_name_exactly_the_permissions_of_the_list(file: str) -> None:
    text = " ".join((ROOT / file).read_text().replace("\n# ", " ").split())
    assert stripe_permissions.in_words() in text


def test_the_command_prints_them() -> None:
    printed = CliRunner().invoke(main, ["stripe", "permissions", "--json"])
    assert [one["permission"] for one in json.loads(printed.output)] == [
        one.name for one in PERMISSIONS
    ]
    words = CliRunner().invoke(main, ["stripe", "permissions"]).output
    assert all(one.row in words for one in PERMISSIONS)


def test_what_was_needed_and_is_not_listed_is_found_and_what_nothing_needs() -> None:
    listed = {one.name.removeprefix("rak_") for one in PERMISSIONS}
    implied = {"payment_intent_read", "charge_read", "customer_read", "balance_read"}
    assert stripe_usage.differences(listed | implied) == []
    assert stripe_usage.differences(listed | {"coupon_read"}) == [
        "coupon_read is needed and not listed"
    ]
    assert stripe_usage.differences(listed - {"refund_write"}) == [
        "refund_write is listed and nothing needs it"
    ]


@pytest.mark.anyio
async def test_the_doctor_asks_for_each_without_effect(newsroom: Newsroom) -> None:
    before = len(newsroom.sandbox.requests), len(newsroom.sandbox.account.store.objects)
    assert await stripe_permissions.missing(newsroom.ctx) == []
    asked = list(newsroom.sandbox.requests)[before[0] :]
    assert len(asked) == len(PERMISSIONS)
    assert all(stripe_usage.is_probe(one) or one.path == "/v1/account" for one in asked)
    assert len(newsroom.sandbox.account.store.objects) == before[1]
    for lacking in PERMISSIONS:
        restrict_key(newsroom, scopes_without(lacking))
        assert await stripe_permissions.missing(newsroom.ctx) == [lacking]
    restrict_key(newsroom, scopes_without(*PERMISSIONS[:2]))
    (finding,) = await doctor.CHECKS["permissions"](newsroom.ctx)
    assert not finding.ok
    assert all(one.name in finding.description for one in PERMISSIONS[:2])

    # what a person has mended closes its alert, and what waited goes on
    opened = {id_ for (id_,) in await newsroom.rows("SELECT object_id FROM alerts")}
    assert opened == {one.name for one in PERMISSIONS}
    restrict_key(newsroom, scopes_without(PERMISSIONS[0]))
    assert await stripe_health.resume_if_well(newsroom.ctx)
    still_open = "SELECT object_id FROM alerts WHERE closed_at IS NULL"
    assert await newsroom.rows(still_open) == [(PERMISSIONS[0].name,)]
    restrict_key(newsroom, dict(stripe_permissions.scopes()))
    assert await stripe_health.resume_if_well(newsroom.ctx)
    assert not await stripe_health.resume_if_well(newsroom.ctx)
    assert await newsroom.rows(still_open) == []


IMPLIED_BY = {
    "balance": "balance_transaction_source",
    "payment_intent": "checkout_session",
    "product": "checkout_session",
    "setup_intent": "checkout_session",
}


@pytest.mark.anyio
async def test_the_alert_of_a_refused_read_closes_when_it_is_granted_and_no_outage_with_it(
    newsroom: Newsroom,
) -> None:
    still_open = "SELECT kind, object_id FROM alerts WHERE closed_at IS NULL"
    for resource, read in stripe_permissions.READS.items():
        key_without(newsroom, resource, IMPLIED_BY.get(resource, resource))
        with pytest.raises(StripePermissionMissing), translate_errors():
            await read(newsroom.ctx.stripe)
        # Stripe names each permission that would do, and the alert the first of them
        named = min(resource, IMPLIED_BY.get(resource, resource))
        alert = ("stripe_permission_missing", f"rak_{named}_read")
        assert await newsroom.rows(still_open) == [alert]
        assert not await stripe_health.resume_if_well(newsroom.ctx)
        assert await newsroom.rows(still_open) == [alert]
        key_without(newsroom)
        assert await stripe_health.resume_if_well(newsroom.ctx)
        assert await newsroom.rows(still_open) == []

    # an outage that begins while the key is looked at is not over
    key_without(newsroom, "invoice")
    with pytest.raises(StripePermissionMissing), translate_errors():
        await newsroom.ctx.stripe.v1.invoices.list_async()
    key_without(newsroom)
    newsroom.sandbox.faults.add("GET", "/v1/invoices", "hang_before")
    looking = asyncio.create_task(stripe_health.resume_if_well(newsroom.ctx))
    await newsroom.sandbox.faults.wait_until_hanging()
    assert await stripe_health.is_outage(newsroom.ctx, StripeKeyRefused("refused"))
    newsroom.sandbox.faults.clear()
    assert await looking
    assert await newsroom.rows(still_open) == [("stripe_key_refused", "stripe_api_key")]
    assert await stripe_health.resume_if_well(newsroom.ctx)

    # a permission that nobody has heard of is looked for among all that are listed
    assert await stripe_permissions.has(newsroom.ctx, "rak_unnamed")
    key_without(newsroom, "dispute")
    assert not await stripe_permissions.has(newsroom.ctx, "rak_unnamed")
    key_without(newsroom)


def scopes_without(*lacking: Permission) -> dict[str, str]:
    return {one.resource: one.access for one in PERMISSIONS if one not in lacking}
