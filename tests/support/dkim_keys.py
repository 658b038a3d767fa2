"""A key that mails are signed with."""

from pathlib import Path

from payments.mail import dkim_signature


def new_key_file(folder: Path) -> Path:
    """Write a new key as the settings want it: for its owner alone."""
    made = folder / "dkim.pem"
    made.write_text(dkim_signature.new_key())
    made.chmod(0o600)
    return made
