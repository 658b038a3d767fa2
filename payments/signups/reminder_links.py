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
from payments.core.frequency import Frequency
from payments.core.money import Money
from payments.core.settings import Settings
from payments.infra import signing
from payments.infra.context import Context

CONFIRM_PURPOSE, CONFIRM_LIFETIME = "reminder-confirm", timedelta(hours=48)  # the mailbox is mine
CODE_PURPOSE, CODE_LIFETIME = "reminder", timedelta(days=400)  # stop this reminder, or ask again
UNSUBSCRIBE_PURPOSE, UNSUBSCRIBE_LIFETIME = (
    "reminder-never",
    timedelta(days=400),
)  # no mail of this kind ever again
EMPTY_PREFILL = "-"  # a link back to the form of somebody who had no amount in mind


def confirm_link(ctx: Context, reminder_id: str) -> str:
    """Where a mailbox is proved."""
    signed = signing.sign_token(ctx.settings.hmac_keys, CONFIRM_PURPOSE, reminder_id, now=ctx.now())
    return f"{ctx.settings.mail_links_base_url}/remind/confirm/{signed}"


def sign_code(ctx: Context, reminder_id: str, address_hash: bytes) -> str:
    """What a reader holds of one reminder."""
    return signing.sign_token(
        ctx.settings.hmac_keys, CODE_PURPOSE, [reminder_id, address_hash.hex()], now=ctx.now()
    )


def cancel_link(ctx: Context, code: str) -> str:
    return f"{ctx.settings.mail_links_base_url}/remind/stop/{code}"


def reschedule_link(ctx: Context, code: str) -> str:
    return f"{ctx.settings.mail_links_base_url}/remind/again/{code}"


def unsubscribe_link(ctx: Context, address_hash: bytes) -> str:
    signed = signing.sign_token(
        ctx.settings.hmac_keys, UNSUBSCRIBE_PURPOSE, address_hash.hex(), now=ctx.now()
    )
    return f"{ctx.settings.mail_links_base_url}/remind/never/{signed}"


def parse_confirm_link(ctx: Context, token: str) -> str:
    """Return the id of the reminder that a link confirms. Raises LinkInvalid."""
    return signing.verify_token(
        ctx.settings.hmac_keys,
        CONFIRM_PURPOSE,
        token,
        str,
        now=ctx.now(),
        max_age=CONFIRM_LIFETIME,
    )


def parse_code(ctx: Context, code: str) -> tuple[str, bytes]:
    """Return the id of a code's reminder, and the hash of the address it went to.

    Raises LinkInvalid.
    """
    reminder_id, address_hash = signing.verify_token(
        ctx.settings.hmac_keys,
        CODE_PURPOSE,
        code,
        tuple[str, str],
        now=ctx.now(),
        max_age=CODE_LIFETIME,
    )
    return reminder_id, bytes.fromhex(address_hash)


def parse_unsubscribe_link(ctx: Context, token: str) -> bytes:
    """Return the hash of the address that a link suppresses. Raises LinkInvalid."""
    address_hash = signing.verify_token(
        ctx.settings.hmac_keys,
        UNSUBSCRIBE_PURPOSE,
        token,
        str,
        now=ctx.now(),
        max_age=UNSUBSCRIBE_LIFETIME,
    )
    return bytes.fromhex(address_hash)


# --- back to the form -----------------------------------------------------------------------------


def return_link(
    settings: Settings, contribution: tuple[Frequency, Money] | None, locale: str
) -> str:
    """The form, filled in, behind words that say not with what."""
    said = (
        ""
        if contribution is None
        else f"{contribution[0][0]}{contribution[1].amount}{contribution[1].currency}"
    )
    packed = base64.urlsafe_b64encode(said.encode()).decode().rstrip("=")
    return f"{settings.mail_links_base_url}/back/{packed or EMPTY_PREFILL}?lang={i18n.language_tag(locale)}"


def parse_prefill(prefill: str) -> tuple[Frequency, Money] | None:
    """What such a link was made of; None for nothing, or for nonsense."""
    try:
        said = base64.urlsafe_b64decode(prefill + "=" * (-len(prefill) % 4)).decode("ascii")
    except ValueError:
        return None
    found = re.fullmatch(r"([oma])([1-9][0-9]{0,8})([a-z]{3})", said)
    if found is None or found[3] not in money.GIFT_LIMITS:
        return None
    frequency = next(one for one in Frequency if one.startswith(found[1]))
    return frequency, Money(int(found[2]), found[3])
