"""The hash by which an address is found: slow, keyed, one for each purpose, off the event loop."""

import asyncio
import hashlib

import pytest

from payments.core.settings import ADDRESS_HASH_COST, Settings
from payments.infra import address_hash, signing
from tests.support.newsroom import settings_for
from tests.support.secret_values import secret_named

pytestmark = pytest.mark.anyio
ADDRESS = "reader@example.org"
LIVE_KEY = f"sk_live_{secret_named('live')}"
BYTES_FOR_A_GUESS = 4 * 2**20


def settings(**more: object) -> Settings:
    return settings_for("postgresql+psycopg://nowhere/", "http://127.0.0.1:9", **more)


def scrypt(keyed: bytes, cost: int, maxmem: int) -> bytes:
    """The stored hash, by the standard library alone."""
    return hashlib.scrypt(keyed, salt=b"donor", n=2**cost, r=8, p=1, maxmem=maxmem, dklen=32)


@pytest.mark.parametrize(
    "more",
    [
        {"environment": "production"},
        {"environment": "demo"},
        {"stripe_api_key": LIVE_KEY, "stripe_api_base": "https://api.stripe.com"},
    ],
)
def test_wherever_donors_are_real_a_guess_needs_memory_and_time(more: dict[str, object]) -> None:
    real = settings(**more)
    assert real.address_hash_cost == ADDRESS_HASH_COST
    (stored,) = address_hash.compute(real, "donor", ADDRESS)
    (keyed,) = signing.hmac_digests(real.hmac_keys, "donor", ADDRESS)
    assert stored == scrypt(keyed, ADDRESS_HASH_COST, 2 * BYTES_FOR_A_GUESS)
    with pytest.raises(ValueError, match="memory limit exceeded"):
        scrypt(keyed, ADDRESS_HASH_COST, BYTES_FOR_A_GUESS)
    # One HMAC is 4 blocks of SHA-256 at most; this is 2 * 2 * r * N of Salsa20/8.
    assert 4 * address_hash.BLOCK_SIZE * 2**ADDRESS_HASH_COST >= 1_000 * 4


def test_only_tests_hash_faster_and_the_key_the_purpose_and_the_address_all_count() -> None:
    assert settings().address_hash_cost == 1
    first, second = secret_named("one"), secret_named("two")
    rolled = address_hash.compute(settings(secret_keys=f"{second},{first}"), "donor", ADDRESS)
    only = [
        address_hash.compute(settings(secret_keys=one), "donor", ADDRESS) for one in (second, first)
    ]
    assert [rolled[:1], rolled[1:]] == only
    others = [
        address_hash.compute(settings(), "newsletter", ADDRESS),
        address_hash.compute(settings(), "donor", "another@example.org"),
    ]
    assert address_hash.compute(settings(), "donor", ADDRESS) not in others


async def test_everybody_else_is_served_while_an_address_is_hashed() -> None:
    hashing = asyncio.create_task(
        address_hash.digests(settings(environment="production"), "donor", ADDRESS)
    )
    for _ in range(3):
        await asyncio.sleep(0)
    assert not hashing.done()
    assert await hashing == address_hash.compute(
        settings(environment="production"), "donor", ADDRESS
    )
