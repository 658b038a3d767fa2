"""Hashes of e-mail addresses, which cannot be looked up by whoever guesses quickly.

Addresses are few enough to be guessed, by whoever has both the database and the secret keys. So a
hash is made slow: scrypt, which needs memory as well as time, over an HMAC that needs the key.
`tests/bench` measures how many guesses a second that leaves.

It is computed on one thread of its own in each process, so that no flood of addresses takes more
than one core, nor holds up who waits for something else.
"""

import asyncio
import hashlib
from concurrent.futures import ThreadPoolExecutor

from payments.core.settings import Settings
from payments.infra import signing

BLOCK_SIZE = 8  # scrypt's r: with a cost of 12, a guess takes 4 MiB and about 10 ms
MAX_MEMORY_BYTES = 64 * 2**20
THREAD = ThreadPoolExecutor(max_workers=1, thread_name_prefix="address-hash")


async def digests(settings: Settings, purpose: str, address: str) -> list[bytes]:
    """Return the hashes of an address in its normal form for one purpose, one under each secret
    key, the newest key's first: 32 bytes each.
    """
    return await asyncio.get_running_loop().run_in_executor(
        THREAD, compute, settings, purpose, address
    )


def compute(settings: Settings, purpose: str, address: str) -> list[bytes]:
    """Do what `digests` does, on the caller's thread."""
    return [
        hashlib.scrypt(
            keyed,
            salt=purpose.encode(),
            n=2**settings.address_hash_cost,
            r=BLOCK_SIZE,
            p=1,
            maxmem=MAX_MEMORY_BYTES,
            dklen=32,
        )
        for keyed in signing.hmac_digests(settings.hmac_keys, purpose, address)
    ]
