"""Which permissions of Stripe's the product's requests needed, over a whole test run.

Each worker appends to one file; at the end of a complete run that is held against the list in
`payments.infra.stripe_permissions`: what is missing there, and what is superfluous.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from payments.infra import stripe_permissions
from payments.sandbox import api_keys, permissions
from payments.sandbox.api import LoggedRequest
from payments.sandbox.sandbox import Sandbox

FILE_VARIABLE = "TEST_STRIPE_USAGE_FILE"
NEWSROOM_KEY = "rk_test_" + "0" * 24  # with exactly the permissions of the list


def add_newsroom_key(sandbox: Sandbox) -> str:
    """Give a sandbox the key of a newsroom. Returns its secret."""
    return sandbox.add_key(NEWSROOM_KEY, scopes=dict(stripe_permissions.scopes()))


def is_probe(request: LoggedRequest) -> bool:
    """Whether a request only asks what the key may do."""
    return stripe_permissions.NOBODYS in request.path or request.params == {"limit": "1"}


def needed(requests: Iterable[LoggedRequest]) -> set[str]:
    """The permissions that requests with the newsroom's key needed."""
    return {
        permission
        for request in requests
        if request.key == api_keys.mask(NEWSROOM_KEY) and not is_probe(request)
        for permission in (request.permission, *request.expand_permissions)
        if permission
    }


def record(sandbox: Sandbox) -> None:
    """Note what a newsroom's requests needed, if the run collects it."""
    file = os.environ.get(FILE_VARIABLE)
    if file:
        with Path(file).open("a") as lines:
            lines.writelines(f"{name}\n" for name in sorted(needed(sandbox.requests)))


def differences(recorded: set[str]) -> list[str]:
    """How the list differs from what was recorded."""
    scopes = dict(stripe_permissions.scopes())
    missing = sorted(name for name in recorded if not permissions.allows(scopes, name))
    listed = {f"{resource}_{access}" for resource, access in scopes.items()}
    return [f"{name} is needed and not listed" for name in missing] + [
        f"{name} is listed and nothing needs it" for name in sorted(listed - recorded)
    ]
