"""E-mail addresses: their normal form, by which one person is found however they type theirs.

Two addresses with the same normal form are the same mailbox. Dots and plus signs stay: whether they
matter is the provider's decision, and nobody else can know.
"""

import unicodedata

import idna

from payments.core.errors import InvalidField

MAX_ADDRESS_LENGTH = 254  # characters: https://www.rfc-editor.org/errata/eid1690
MAX_LOCAL_LENGTH = 64  # characters before the @: RFC 5321, 4.5.3.1.1
INVISIBLE_CATEGORIES = frozenset({"Cf"})  # zero-width letters, soft hyphens, direction marks
JOINERS = "\u200c\u200d"
BLANK_CATEGORIES = frozenset({"Zs", "Zl", "Zp"})


def normalise_email(address: str) -> str:
    """Return the normal form of an address.

    No surrounding blanks and no invisible characters, full-width letters as plain ones, in lower
    case, the domain in IDNA (UTS 46). No other letter becomes another one: `weiß` and `weiss`, or
    a ligature and its letters, are two mailboxes. Raises InvalidField, whose message repeats no
    part of it, for what is no address. The result has the form of an address; it need not exist.
    """
    local, at, domain = _fold(address).rpartition("@")
    local = _without_joiners(local).lower()
    if not local or not domain or "@" in local or len(local) > MAX_LOCAL_LENGTH:
        raise _invalid_address()
    return f"{local}{at}{_ascii_domain(domain)}"


def _ascii_domain(domain: str) -> str:
    """Return a domain as mail servers know it. Raises InvalidField.

    IDNA alone decides which letters are one: to fold their case first would make two domains of
    two owners one, `straße` and `strasse`.
    """
    try:
        return _encode(domain)
    except idna.InvalidCodepointContext:  # no domain has a joiner there, so it was a slip
        return _encode(_without_joiners(domain))


def _encode(domain: str) -> str:
    try:
        return idna.encode(domain, uts46=True).decode()
    except idna.InvalidCodepointContext:
        raise
    except idna.IDNAError:
        raise _invalid_address() from None


def _without_joiners(text: str) -> str:
    return text.translate(dict.fromkeys(map(ord, JOINERS)))


def _fold(address: str) -> str:
    """Return the address without what is not seen, in one spelling of each letter."""
    trimmed = address.strip()
    if any(unicodedata.category(letter) == "Cc" for letter in trimmed):  # a header, never a slip
        raise _invalid_address()
    seen = "".join(_plain_width(letter) for letter in trimmed if _is_seen(letter))
    text = unicodedata.normalize("NFC", seen).strip()
    if len(text) > MAX_ADDRESS_LENGTH or any(
        not _is_seen(c) or unicodedata.category(c) in BLANK_CATEGORIES for c in text
    ):
        raise _invalid_address()
    return text


def _plain_width(letter: str) -> str:
    """Return a letter as it is typed outside East Asia: another width is the same letter."""
    is_other_width = unicodedata.decomposition(letter).startswith(("<wide>", "<narrow>"))
    return unicodedata.normalize("NFKC", letter) if is_other_width else letter


def _is_seen(letter: str) -> bool:
    """Whether a letter is visible, or a joiner, which makes another word of some domains."""
    return letter in JOINERS or unicodedata.category(letter) not in INVISIBLE_CATEGORIES


def _invalid_address() -> InvalidField:
    return InvalidField("Please check the e-mail address.", field="address")
