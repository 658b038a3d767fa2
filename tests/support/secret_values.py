"""Secrets for tests: the same in each run, and as random to look at as real ones."""

import hashlib


def secret_named(name: str) -> str:
    """Return 64 hexadecimal digits that belong to a name."""
    return hashlib.sha256(name.encode()).hexdigest()
