"""An enum of words that somebody else chooses: one that is new is a value, not an error."""

from enum import StrEnum


class OpenEnum(StrEnum):
    """Words of Stripe's. Each class has UNKNOWN, which stands for any word that it lacks."""

    @classmethod
    def _missing_(cls, value: object) -> "OpenEnum | None":
        return cls.__members__.get("UNKNOWN") if isinstance(value, str) else None
