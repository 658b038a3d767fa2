"""Strength of secrets: refuse what somebody could guess, whatever its length.

A secret that the operator makes must look as random bytes do. The measure is the entropy of its
characters as they are spread in it, the empirical one of Shannon, times its length: 32 random
hexadecimal digits have about 113 bits of it, a repeated character none. What repeats or counts has
more by that measure than it is worth, so it is looked for by itself. No measure can tell a random
secret from one that was published.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import log2

MIN_BITS = 90
# Eight characters that come again: by chance in one of a million random hexadecimal keys.
REPEATED_PATTERN = re.compile(r"(.{8}).*\1", re.DOTALL)
MAX_STEPS_SHARE = 0.5  # of the characters that may follow the one before as a, b or 3, 2
PLACEHOLDER_PATTERN = re.compile(
    r"replace|change.?me|placeholder|your.?(key|secret|token|password)|example|fill.?in"
    r"|x{6}|<.*>|…|\.\.\.",
    re.IGNORECASE,
)


def weakness_of_placeholder(text: str) -> str | None:
    """Return what is wrong with a secret that is a blank or a placeholder, else None."""
    if not text.strip():
        return "is blank: give a value or leave the line out"
    if PLACEHOLDER_PATTERN.search(text):
        return "is a placeholder: give a real value"
    return None


def weakness(text: str) -> str | None:
    """Return what is wrong with a secret that somebody could guess, else None.

    The answer continues a sentence about the secret and repeats nothing of it.
    """
    if problem := weakness_of_placeholder(text):
        return problem
    if REPEATED_PATTERN.search(text):
        return "repeats itself: `payments keys new` prints a random one"
    steps = sum(abs(ord(after) - ord(before)) <= 1 for before, after in pairwise(text))
    bits = -sum(n * log2(n / len(text)) for n in Counter(text).values())
    if steps > MAX_STEPS_SHARE * len(text) or bits < MIN_BITS:
        return "can be guessed: `payments keys new` prints a random one"
    return None


def reuse(named: Mapping[str, Sequence[str]]) -> str | None:
    """Return which settings share a secret, or which holds one twice, else None."""
    owners: dict[str, str] = {}
    for name, values in named.items():
        if len(set(values)) < len(values):
            return f"{name}: the same secret stands there twice"
        for value in values:
            if (other := owners.setdefault(value, name)) != name:
                return f"{other}, {name}: each needs a secret of its own"
    return None
