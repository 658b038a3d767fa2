"""The table of routes and parameters, docs/sandbox-routes.md: `make routes` writes it.

`python -m payments.sandbox.route_table` prints it.
"""

import re
import sys
import textwrap
from collections import Counter
from collections.abc import Collection, Iterable
from itertools import groupby
from typing import Final

from payments.sandbox import contract, request_checks, routes
from payments.sandbox.api_versions import removed_params
from payments.sandbox.contract_parameters import leaves_of
from payments.sandbox.declared_params import EXPAND

_INTRODUCTION: Final = """\
# Routes and parameters of the stand-in

Written by `make routes` from the code and from the types of Stripe's SDK; a test compares it.

* **Reads**: the parameters that a route acts on. `x.*` is everything below `x`, `x[]` an array.
  `expand[]` is read wherever Stripe takes it.
* **Refuses**: the parameters that Stripe takes and the route does not act on: answered 400,
  `sandbox_unsupported`, "The sandbox does not do `x` yet." So are values that it does not do, such
  as `capture_method=manual`.
* Everything else is unknown to Stripe: answered 400, `parameter_unknown`.
* *Before endive*: read from clients that name an older version, or none.
"""
_LISTED_AT_MOST: Final = 12  # routes of one resource, so that the list can be read


def render() -> str:
    """Return the whole document."""
    parts = [_INTRODUCTION]
    for resource, group in groupby(routes.all_routes(), key=lambda each: _resource(each.template)):
        rows = [_row(route) for route in group]
        parts.append(
            f"## {resource}\n\n| Route | Reads | Refuses |\n|---|---|---|\n" + "".join(rows)
        )
    parts.append(_missing())
    return "\n".join(parts)


def _row(route: routes.Route) -> str:
    endpoint = contract.find_endpoint(route.method, route.template.replace("{}", "id"))
    known = set(leaves_of(endpoint)) - {EXPAND} if endpoint else set()
    old = removed_params(route.method, route.template) - known
    reads = route.reads - {EXPAND} - old
    name = f"`{route.method} {route.template}`"
    if request_checks.is_undocumented(route.template.replace("{}", "id")):
        name += " (undocumented, for Stripe's command line client)"
    cells = [_cell(collapsed(reads, known or reads)), _cell(collapsed(known - reads, known))]
    if old:
        cells[0] += f"; before endive {_cell(sorted(old))}"
    return f"| {name} | {cells[0]} | {cells[1]} |\n"


def collapsed(chosen: Collection[str], known: Collection[str]) -> list[str]:
    """Return leaves, sorted; `x.*` in place of all that is known below `x`, if all are chosen."""
    found: set[str] = set()
    for leaf in chosen:
        ends = [match.start() for match in re.finditer(r"\.", leaf)]
        prefixes = (leaf[:end] for end in ends)
        whole = next((each for each in prefixes if _is_whole(each, chosen, known)), None)
        found.add(leaf if whole is None else f"{whole}.*")
    return sorted(found)


def _is_whole(prefix: str, chosen: Collection[str], known: Collection[str]) -> bool:
    below = [leaf for leaf in known if leaf.startswith(f"{prefix}.")]
    return len(below) > 1 and all(leaf in chosen for leaf in below)


def _missing() -> str:
    here = {(route.template, route.method) for route in routes.all_routes()}
    there = {
        (re.sub(r"\{\w+\}", "{}", each.template), each.method) for each in contract.endpoints()
    }
    served = Counter(_resource(template) for template, _ in here & there)
    in_part, not_at_all = [], []
    for resource, group in groupby(sorted(there - here), key=lambda each: _resource(each[0])):
        lacking = [f"  * `{method} {template}`\n" for template, method in group]
        if not served[resource]:
            not_at_all.append(f"{resource} {len(lacking)}")
            continue
        whole = served[resource] + len(lacking)
        in_part.append(f"* {resource}: has {served[resource]} of {whole}")
        is_short = len(lacking) <= _LISTED_AT_MOST
        in_part.append(", and lacks:\n" + "".join(lacking) if is_short else ".\n")
    return (
        "## Routes of Stripe that the stand-in has not\n\n"
        "Answered 404, `sandbox_unsupported`.\n\n"
        "### Resources that it has in part\n\n" + "".join(in_part) + "\n"
        "### Resources that it has not, with their number of routes\n\n"
        + textwrap.fill(", ".join(not_at_all) + ".", 100)
        + "\n"
    )


def _resource(template: str) -> str:
    version, name, *_ = [*template.strip("/").split("/"), ""]
    return name if version == "v1" else f"{version}/{name}".rstrip("/")


def _cell(leaves: Iterable[str]) -> str:
    return ", ".join(f"`{leaf}`" for leaf in leaves) or "-"


if __name__ == "__main__":
    sys.stdout.write(render())
