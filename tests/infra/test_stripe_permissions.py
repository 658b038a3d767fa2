"""The key needs exactly the permissions that are listed, printed, documented and probed."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from payments.cli import main
from payments.infra import stripe_health, stripe_permissions
from payments.infra.stripe_permissions import PERMISSIONS, Permission
from payments.ops import doctor
from payments.sandbox import permissions
from tests.support import stripe_usage
from tests.support.newsroom import Newsroom
from tests.support.stripe_keys import restrict_key

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


def scopes_without(*lacking: Permission) -> dict[str, str]:
    return {one.resource: one.access for one in PERMISSIONS if one not in lacking}
