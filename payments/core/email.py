"""E-mail addresses: their normal form, by which one person is found however they type theirs.

Two addresses with the same normal form are the same mailbox. Dots and plus signs stay: whether they
matter is the provider's decision, and nobody else can know.
"""

import unicodedata

import idna

from payments.core.errors import InvalidField

MAX_ADDRESS_LENGTH = 254  # characters: https://www.rfc-editor.org/errata/eid1690
MAX_LOCAL_LENGTH = 64  # characters before the @: RFC 5321, 4.5.3.1.1
INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf"})  # zero-width letters, soft hyphens, direction marks
BLANK_CATEGORIES = frozenset({"Zs", "Zl", "Zp"})


def normalise_email(address: str) -> str:
    """Return the normal form of an address.

    No surrounding blanks and no invisible characters, NFKC, case folded, the domain in IDNA
    (UTS 46). Raises InvalidField, whose message repeats no part of it, for what is no address. The
    result has the form of an address; it need not exist.
    """
    local, at, domain = _fold(address).rpartition("@")
    if not local or not domain or "@" in local or len(local) > MAX_LOCAL_LENGTH:
        raise _invalid_address()
    try:
        normal = f"{local}{at}{idna.encode(domain, uts46=True).decode()}"
    except idna.IDNAError:
        raise _invalid_address() from None
    return normal


def _fold(address: str) -> str:
    """Return the address without what is not seen, in one spelling of each letter."""
    trimmed = address.strip()
    if "\r" in trimmed or "\n" in trimmed:  # a second line is somebody's header, never a slip
        raise _invalid_address()
    visible = (c for c in trimmed if unicodedata.category(c) not in INVISIBLE_CATEGORIES)
    text = unicodedata.normalize("NFKC", "".join(visible)).strip().casefold()
    if len(text) > MAX_ADDRESS_LENGTH or any(
        unicodedata.category(c) in INVISIBLE_CATEGORIES | BLANK_CATEGORIES for c in text
    ):
        raise _invalid_address()
    return text


def _invalid_address() -> InvalidField:
    return InvalidField("Please check the e-mail address.", field="address")
