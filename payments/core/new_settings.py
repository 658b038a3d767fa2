"""New settings: an environment file for a new installation, with secrets of its own."""

import base64
import os
import secrets
import shlex
from collections.abc import Mapping
from pathlib import Path

from payments.core.settings import ENV_PREFIX, Settings

PLACEHOLDER = "replace_me"  # refused wherever it is left: payments.core.secret_strength
REQUIRED_TO_SERVE = ("stripe_webhook_secrets", "secret_keys")


def new_key() -> str:
    """Return 32 random bytes in hexadecimal."""
    return secrets.token_hex(32)


def _new_standard_webhooks_secret() -> str:
    return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"


GENERATED = {
    "secret_keys": new_key,
    "metrics_token": new_key,
    "mail_events_token": new_key,
    "close_pack_signing_key": new_key,
    "newsletter_webhook_secret": _new_standard_webhooks_secret,
}
"""The secrets that are ours to make. The others come from Stripe, a server or a sign-in service."""


def environment_file(given: Mapping[str, str] | None = None) -> str:
    """Return every setting as lines of an environment file, described, which a shell and systemd
    read alike.

    `given` has what the operator said already, by a setting's name. What else must be set and only
    the operator knows is a placeholder; what may be left alone is a comment with its default.
    """
    given = given or {}
    lines = []
    for name, field in Settings.model_fields.items():
        variable = f"{ENV_PREFIX}{name.upper()}"
        lines.append(f"# {field.description}")
        if name in given:
            lines.append(f"{variable}={shlex.quote(given[name])}")
        elif name in GENERATED:
            lines.append(f"{variable}={GENERATED[name]()}")
        elif field.is_required() or name in REQUIRED_TO_SERVE:
            lines.append(f"{variable}={PLACEHOLDER}")
        else:
            lines.append(f"# {variable}={_written(field.default)}")
        lines.append("")
    return "\n".join(lines)


def missing(text: str) -> list[str]:
    """Return the names of the settings that are placeholders in an environment file."""
    ending = f"={PLACEHOLDER}"
    return [line.removesuffix(ending) for line in text.splitlines() if line.endswith(ending)]


def new_password() -> str:
    """Return a password for a login of the database, of letters, digits, - and _ alone."""
    return secrets.token_urlsafe(24)


def _written(value: object) -> str:
    """Write a default as an operator would."""
    if isinstance(value, tuple):
        return ",".join(str(part) for part in value)
    return "" if value is None or value == {} else str(value)


def write_private(path: Path, text: str) -> None:
    """Write a new file that only its owner may read. Raises FileExistsError."""
    opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(opened, "w", encoding="utf-8") as file:
        file.write(text)
