"""Adoption: which payments of a shared Stripe account are taken in as contributions."""

import re
from dataclasses import dataclass
from enum import StrEnum

RULE_HELP = "must be ours, products:prod_a,prod_b, metadata:key=value or all"
_PRODUCTS = re.compile(r"products:([\w-]+(?:\s*,\s*[\w-]+)*)")
_METADATA = re.compile(r"metadata:([^=\s][^=]{0,39})=(\S.{0,499})")


class AdoptionKind(StrEnum):
    """How it is decided, beside what our own form began: that is always a contribution."""

    OURS = "ours"  # nothing else
    PRODUCTS = "products"  # what is paid for one of these products
    METADATA = "metadata"  # what has this key and value
    ALL = "all"


@dataclass(frozen=True, slots=True)
class AdoptionRule:
    """A rule, as `parse` reads it."""

    kind: AdoptionKind = AdoptionKind.OURS
    products: frozenset[str] = frozenset()
    key: str = ""
    value: str = ""

    def __str__(self) -> str:
        """Spell the rule as the setting does."""
        if self.kind is AdoptionKind.PRODUCTS:
            return f"{self.kind}:{','.join(sorted(self.products))}"
        if self.kind is AdoptionKind.METADATA:
            return f"{self.kind}:{self.key}={self.value}"
        return str(self.kind)


def parse(text: str) -> AdoptionRule:
    """Return the rule that a setting spells. Raises ValueError for anything else."""
    text = text.strip()
    if text in (AdoptionKind.OURS, AdoptionKind.ALL):
        return AdoptionRule(AdoptionKind(text))
    if match := _PRODUCTS.fullmatch(text):
        products = frozenset(part.strip() for part in match[1].split(","))
        return AdoptionRule(AdoptionKind.PRODUCTS, products=products)
    if match := _METADATA.fullmatch(text):
        return AdoptionRule(AdoptionKind.METADATA, key=match[1].strip(), value=match[2])
    raise ValueError(RULE_HELP)
