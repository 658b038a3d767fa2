"""The hash chain over the ledger entries: SHA-256 over a byte form that never changes.

    hash  = SHA-256(previous hash ‖ bytes of the entry)
    entry = v2|seq|debit|credit|amount|currency|occurred_at|balance_transaction|contribution|
            posting version|correction

in ASCII and on one line, with whole minor units, the second in UTC as 2026-11-22T15:04:05Z, and the
version of the posting table. A part is empty where an entry has no contribution, or comes from no
correction; of one that does it is, in hex, the digest of all that the correction says. The first
previous hash is 32 zero bytes. Every part comes from an alphabet without `|`. A change to this form
is a new version beside it, never an edit:
`tests/ledger/test_hash_chain.py` holds the vectors.
"""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

GENESIS_HASH = bytes(32)
TIMESTAMP_FORMAT = "%Y-%m-%dT%H:%M:%SZ"  # in UTC


class ChainedEntry(NamedTuple):
    """What the hash of one entry covers, in the order of its bytes."""

    seq: int
    debit: str
    credit: str
    amount: int
    currency: str
    occurred_at: datetime
    balance_transaction: str
    contribution_id: str | None
    posting_version: int
    correction_digest: bytes | None = None


def timestamp(moment: datetime) -> str:
    """Return a moment as hashes and packs write it, in UTC to the second."""
    return moment.astimezone(UTC).strftime(TIMESTAMP_FORMAT)


def row_bytes(entry: ChainedEntry) -> bytes:
    """Return the bytes of one entry that its hash covers."""
    parts = (
        str(entry.seq),
        entry.debit,
        entry.credit,
        str(entry.amount),
        entry.currency,
        timestamp(entry.occurred_at),
        entry.balance_transaction,
        entry.contribution_id or "",
        str(entry.posting_version),
        (entry.correction_digest or b"").hex(),
    )
    return join_parts(parts)


def join_parts(parts: Sequence[str]) -> bytes:
    """Return the bytes of one entry from its parts as texts. Raises ValueError for other texts."""
    if any("|" in part for part in parts):
        raise ValueError("a part of an entry holds a |")
    return "|".join(("v2", *parts)).encode("ascii")


def next_hash(previous: bytes, entry: bytes) -> bytes:
    """Return the hash of an entry that follows the entry with the hash `previous`."""
    assert len(previous) == 32
    return hashlib.sha256(previous + entry).digest()
