"""The links of reminders: signed for one purpose each, and valid without signing in.

Opening a link changes nothing, for mail programs open links to look at them; only the button of its
page does. A reminder's code carries its id and the keyed hash of the address it was sent to:
together with the address it shows that the mailbox is somebody's, whatever became of the row. The
link back to the form is the same for everybody with the same frequency and amount, and names
nobody.
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
from payments.signups.signup import CONFIRMATION_LIFETIME, UNSUBSCRIBE_LINK_LIFETIME

CONFIRM_PURPOSE = "reminder-confirm"
CODE_PURPOSE, CODE_LIFETIME = "reminder", timedelta(days=400)
UNSUBSCRIBE_PURPOSE = "reminder-unsubscribe"
EMPTY_PREFILL = "-"  # the last part of a link back to the form that fills in nothing


def confirm_link(ctx: Context, reminder_id: str) -> str:
    """Return the link that confirms a reminder."""
    signed = signing.sign_token(ctx.settings.hmac_keys, CONFIRM_PURPOSE, reminder_id, now=ctx.now())
    return f"{ctx.settings.mail_links_base_url}/remind/confirm/{signed}"


def sign_code(ctx: Context, reminder_id: str, address_hash: bytes) -> str:
    """Return the code that a mail carries: it cancels, reschedules or reactivates its reminder."""
    return signing.sign_token(
        ctx.settings.hmac_keys, CODE_PURPOSE, [reminder_id, address_hash.hex()], now=ctx.now()
    )


def cancel_link(ctx: Context, code: str) -> str:
    """Return the link that cancels the reminder of a code."""
    return f"{ctx.settings.mail_links_base_url}/remind/stop/{code}"


def reschedule_link(ctx: Context, code: str) -> str:
    """Return the link to the form to choose another day."""
    return f"{ctx.settings.mail_links_base_url}/remind/again/{code}"


def unsubscribe_link(ctx: Context, address_hash: bytes) -> str:
    """Return the link that suppresses an address."""
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
        max_age=CONFIRMATION_LIFETIME,
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
        max_age=UNSUBSCRIBE_LINK_LIFETIME,
    )
    return bytes.fromhex(address_hash)


# --- back to the form -----------------------------------------------------------------------------


def return_link(
    settings: Settings, contribution: tuple[Frequency, Money] | None, locale: str
) -> str:
    """Return the link to the form, filled in, encoded so that it does not say with what."""
    prefill = ""
    if contribution is not None:
        frequency, gift = contribution
        prefill = f"{frequency[0]}{gift.amount}{gift.currency}"
    encoded = base64.urlsafe_b64encode(prefill.encode()).decode().rstrip("=") or EMPTY_PREFILL
    language = i18n.language_tag(locale)
    return f"{settings.mail_links_base_url}/back/{encoded}?lang={language}"


def parse_prefill(encoded: str) -> tuple[Frequency, Money] | None:
    """Return what such a link fills in; None for nothing, or for what makes no sense."""
    try:
        prefill = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode("ascii")
    except ValueError:
        return None
    match = re.fullmatch(r"([oma])([1-9][0-9]{0,8})([a-z]{3})", prefill)
    if match is None or match[3] not in money.GIFT_LIMITS:
        return None
    frequency = next(one for one in Frequency if one.startswith(match[1]))
    return frequency, Money(int(match[2]), match[3])
