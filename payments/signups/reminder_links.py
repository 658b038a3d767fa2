"""The links of reminders: signed, for one purpose, and good without signing in.

A reminder's code carries its id and the keyed hash of the address it was sent to: with the address
itself it proves the mailbox, whatever has become of the row. Opening a link changes nothing, for
mail programs open links to look at them; only the button of the page behind it does. The link back
to the form is the same for all who had the same in mind, is counted, and names nobody.
"""

import base64
import re
from datetime import timedelta

from payments.core import i18n, money
from payments.core.errors import LinkSpent
from payments.core.money import Money
from payments.core.settings import Settings
from payments.giving.checkout_session import Frequency
from payments.infra import signing
from payments.infra.context import Runtime

CONFIRM, CONFIRM_LASTS = "reminder-confirm", timedelta(hours=48)  # the mailbox is mine
CODE, CODE_LASTS = "reminder", timedelta(days=400)  # stop this reminder, or ask again
NEVER, NEVER_LASTS = "reminder-never", timedelta(days=400)  # no mail of this kind ever again
NOTHING = "-"  # a link back to the form of somebody who had no amount in mind


def confirm(rt: Runtime, reminder_id: str) -> str:
    """Where a mailbox is proved."""
    signed = signing.sign(rt.settings.keys, CONFIRM, reminder_id, now=rt.now())
    return f"{rt.settings.mailed_url}/remind/confirm/{signed}"


def code(rt: Runtime, reminder_id: str, owner: bytes) -> str:
    """What a reader holds of one reminder."""
    return signing.sign(rt.settings.keys, CODE, [reminder_id, owner.hex()], now=rt.now())


def stop(rt: Runtime, held: str) -> str:
    return f"{rt.settings.mailed_url}/remind/stop/{held}"


def again(rt: Runtime, held: str) -> str:
    return f"{rt.settings.mailed_url}/remind/again/{held}"


def never(rt: Runtime, owner: bytes) -> str:
    signed = signing.sign(rt.settings.keys, NEVER, owner.hex(), now=rt.now())
    return f"{rt.settings.mailed_url}/remind/never/{signed}"


def to_confirm(rt: Runtime, signed: str) -> str:
    """The reminder whose mailbox a link proves. Raises LinkSpent."""
    match _opened(rt, CONFIRM, signed, lasts=CONFIRM_LASTS):
        case str(reminder_id):
            return reminder_id
    raise _spent()


def held(rt: Runtime, signed: str) -> tuple[str, bytes]:
    """The reminder of a code, and the hash of the address it went to. Raises LinkSpent."""
    match _opened(rt, CODE, signed, lasts=CODE_LASTS):
        case [str(reminder_id), str(owner)]:
            return reminder_id, bytes.fromhex(owner)
    raise _spent()


def owner_who_wants_none(rt: Runtime, signed: str) -> bytes:
    """The hash of the address that is never to be written to again. Raises LinkSpent."""
    match _opened(rt, NEVER, signed, lasts=NEVER_LASTS):
        case str(owner):
            return bytes.fromhex(owner)
    raise _spent()


def _opened(rt: Runtime, purpose: str, signed: str, *, lasts: timedelta) -> object:
    return signing.opened(rt.settings.keys, purpose, signed, now=rt.now(), lasts=lasts)


def _spent() -> LinkSpent:
    return LinkSpent("This link has expired or is not complete. Nothing was changed.")


# --- back to the form -----------------------------------------------------------------------------


def back(settings: Settings, gift: tuple[Frequency, Money] | None, tongue: str) -> str:
    """The form, filled in, behind words that say not with what."""
    said = "" if gift is None else f"{gift[0][0]}{gift[1].amount}{gift[1].currency}"
    packed = base64.urlsafe_b64encode(said.encode()).decode().rstrip("=")
    return f"{settings.mailed_url}/back/{packed or NOTHING}?lang={i18n.tag(tongue)}"


def gift_of(packed: str) -> tuple[Frequency, Money] | None:
    """What such a link was made of; None for nothing, or for nonsense."""
    try:
        said = base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)).decode("ascii")
    except ValueError:
        return None
    found = re.fullmatch(r"([oma])([1-9][0-9]{0,8})([a-z]{3})", said)
    if found is None or found[3] not in money.BOUNDS:
        return None
    frequency = next(one for one in Frequency if one.startswith(found[1]))
    return frequency, Money(int(found[2]), found[3])
