"""Guesses: how many addresses a second can be tried by whoever has the database and the keys, on
one core, beside a keyed hash that is not slow.
"""

import hmac
import time
from collections.abc import Callable, Iterator
from statistics import median

from payments.core.settings import load
from payments.infra import address_hash
from tests.bench import servers

ROUNDS, SLOW_GUESSES, FAST_GUESSES = 5, 40, 100_000


def report(database: str) -> Iterator[str]:
    """Try addresses by both hashes in turns. Yields lines to print."""
    settings = load(servers.environment(database, stripe_port=9))
    (key,) = settings.hmac_keys
    fast, slow = [], []
    for _ in range(ROUNDS):
        fast.append(
            _guesses_a_second(
                FAST_GUESSES, lambda address: hmac.digest(key, b"donor\0" + address, "sha256")
            )
        )
        slow.append(
            _guesses_a_second(
                SLOW_GUESSES,
                lambda address: address_hash.compute(settings, "donor", address.decode()),
            )
        )
    ratio = median(one / other for one, other in zip(fast, slow, strict=True))
    yield f"guesses a second on one core: {median(fast):,.0f} by HMAC-SHA256 alone"
    yield f"guesses a second on one core: {median(slow):,.0f} by the hash that is stored"
    yield f"a guess costs {ratio:,.0f} times as much"


def _guesses_a_second(count: int, digest: Callable[[bytes], object]) -> float:
    began = time.process_time()
    for number in range(count):
        digest(b"reader%d@example.org" % number)
    return count / (time.process_time() - began)
