"""The hash chain over the ledger entries: SHA-256 over a byte form that never changes.

    hash  = SHA-256(previous hash ‖ bytes of the entry)
    entry = v1|seq|debit|credit|amount|currency|occurred_at|balance_transaction|contribution

in ASCII, with whole minor units, the second in UTC as 2026-11-22T15:04:05Z, and an empty last part
where an entry has no contribution. The first previous hash is 32 zero bytes. Every part comes from
an alphabet without `|`. A change to this form is a new version beside it, never an edit:
`tests/ledger/test_hash_chain.py` holds the vectors.
"""

import hashlib
from datetime import UTC, datetime

GENESIS_HASH = bytes(32)
TIMESTAMP_FORMAT = "%Y-%m-%dT%H:%M:%SZ"  # in UTC


def row_bytes(
    seq: int,
    debit: str,
    credit: str,
    amount: int,
    currency: str,
    occurred_at: datetime,
    balance_transaction: str,
    contribution_id: str | None,
) -> bytes:
    """Return the bytes of one entry that its hash covers."""
    parts = (
        "v1",
        str(seq),
        debit,
        credit,
        str(amount),
        currency,
        occurred_at.astimezone(UTC).strftime(TIMESTAMP_FORMAT),
        balance_transaction,
        contribution_id or "",
    )
    assert not any("|" in part for part in parts)
    return "|".join(parts).encode("ascii")


def next_hash(previous: bytes, entry: bytes) -> bytes:
    """Return the hash of an entry that follows the entry with the hash `previous`."""
    assert len(previous) == 32
    return hashlib.sha256(previous + entry).digest()
