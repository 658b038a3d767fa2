"""Secrets of the environment that are in files: `PAYMENTS_…_FILE` names the file of a setting."""

from collections.abc import Iterable
from pathlib import Path


def read_into(given: dict[str, str], names: Iterable[str], *, prefix: str) -> list[str]:
    """Replace each `…_FILE` of a secret by the text of its file. Return what was wrong."""
    problems = []
    for name in names:
        variable = f"{prefix}{name.upper()}"
        path = given.pop(f"{variable}_FILE", None)
        if path is None:
            continue
        if variable in given:
            problems.append(f"{variable}_FILE: set it or {variable}, not both")
        try:
            given[variable] = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            problems.append(f"{variable}_FILE: {type(error).__name__}: cannot read {path}")
    return problems
