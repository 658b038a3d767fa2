"""Building blocks of SQL text: constants of ours written into it, and conditions joined.

Nothing that a person typed goes through here: that is always a parameter.
"""

from collections.abc import Iterable, Mapping


def in_list(words: Iterable[str]) -> str:
    """Return constants as a list for IN, such as `('charge', 'payment')`."""
    quoted = [f"'{word}'" for word in words]
    assert quoted
    assert not any("'" in word[1:-1] for word in quoted)
    return f"({', '.join(quoted)})"


def local_day_condition(column: str, comparison: str, parameter: str) -> str:
    """Return the comparison of a time with the beginning of a day in :zone."""
    return f"{column} {comparison} CAST(:{parameter} AS timestamp) AT TIME ZONE :zone"


def where(
    conditions: Iterable[tuple[str, str, object]], always: Mapping[str, object]
) -> tuple[str, dict[str, object]]:
    """Join the conditions whose value is set, and return them with the parameters.

    A condition is the name of its parameter, its SQL, and the value; None leaves it out. `always`
    are parameters that other parts of the statement take. Without conditions it is `true`.
    """
    parts, params = [], dict(always)
    for name, condition, value in conditions:
        if value is not None:
            parts.append(condition)
            params[name] = value
    return "\n       AND ".join(parts) or "true", params
