"""Every call of ours that changes something at Stripe, read from the code."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
# What changes nothing of Stripe's, or is none of Stripe's calls.
READS = ("retrieve", "list", "create_preview", "open", "run_worker", "request")


@dataclass(frozen=True)
class Write:
    """One call: its module, the function of that module that it is in, and Stripe's verb."""

    module: str
    function: str
    verb: str


def writes() -> Iterator[Write]:
    """Yield every call, but for the sandbox's own and the demo's."""
    for file in sorted(ROOT.glob("payments/**/*.py")) + sorted(ROOT.glob("webhooks/*.py")):
        module = file.relative_to(ROOT).with_suffix("").as_posix().removeprefix("payments/")
        if module.startswith(("sandbox/", "ops/demo/")):
            continue
        for statement in ast.parse(file.read_text()).body:
            for node in ast.walk(statement):
                if isinstance(node, ast.Attribute) and node.attr.endswith("_async"):
                    verb = node.attr.removesuffix("_async")
                    if not verb.startswith(READS):
                        yield Write(module, getattr(statement, "name", ""), verb)
