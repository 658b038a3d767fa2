"""The hash chain over the rows of the books: SHA-256 over a byte form that never changes.

    hash = SHA-256(previous hash ‖ bytes of the row)
    row  = v1|seq|debit|credit|amount|currency|occurred_at|balance_transaction|contribution

in ASCII, with whole minor units, the second in UTC as 2026-11-22T15:04:05Z, and an empty last part
where a row has no contribution. The first previous hash is 32 zero bytes. Every part comes from an
alphabet without `|`. A change to this form is a new version beside it, never an edit:
`tests/ledger/test_posting.py` holds the vectors.
"""

import hashlib
from datetime import UTC, datetime

GENESIS_HASH = bytes(32)


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
    """The frozen form of one row."""
    moment = occurred_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    parts = (
        "v1",
        str(seq),
        debit,
        credit,
        str(amount),
        currency,
        moment,
        balance_transaction,
        contribution_id or "",
    )
    assert not any("|" in part for part in parts)
    return "|".join(parts).encode("ascii")


def next_hash(previous: bytes, entry: bytes) -> bytes:
    """The hash of a row that follows `previous`."""
    assert len(previous) == 32
    return hashlib.sha256(previous + entry).digest()
