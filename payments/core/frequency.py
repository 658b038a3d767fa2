"""Frequency: how often a contribution is charged."""

from enum import StrEnum


class Frequency(StrEnum):
    """Once, or every month or year until the donor cancels."""

    ONCE = "once"
    MONTHLY = "monthly"
    ANNUAL = "annual"

    @property
    def interval(self) -> str | None:
        """Stripe's word for the time between two charges; None for a single contribution."""
        return {"monthly": "month", "annual": "year"}.get(self.value)
