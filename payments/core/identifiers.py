"""Identifiers: the ids of our rows, and the slugs that people choose.

A row's id is 32 lower-case hexadecimal digits, random, made by us before the row is written. A slug
(of a campaign, a variant or an article) is what stands in addresses and reports.
"""

import re
import secrets

ROW_ID_PATTERN = re.compile(r"[0-9a-f]{32}")
SLUG_REGEX = r"[a-z0-9][a-z0-9-]{0,63}"
SLUG_PATTERN = re.compile(SLUG_REGEX)
SLUG_HELP = "at most 64 lower-case letters, digits and hyphens"


def new_row_id() -> str:
    """Return a new row id: 128 random bits, so that nobody guesses another's."""
    return secrets.token_hex(16)


def is_row_id(text: str) -> bool:
    """Whether a text has the form of a row id. It says nothing about there being such a row."""
    return ROW_ID_PATTERN.fullmatch(text) is not None


def row_id_or_new(text: str) -> str:
    """Return the row id that a form carried, or a new one where it carried none or nonsense."""
    return text if is_row_id(text) else new_row_id()


def is_slug(text: str) -> bool:
    """Whether a text may be the slug of a campaign, a variant or an article."""
    return SLUG_PATTERN.fullmatch(text) is not None
