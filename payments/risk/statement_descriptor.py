"""The statement descriptor: what a donor's bank prints, as Stripe's account has it.

It is compared with what readers are shown, and searched for the forbidden words of a safety policy.
A word is found however it is written: in another case, with other spaces, as a part of a domain, in
Cyrillic or in one of its usual transliterations. While a policy is in force and something is wrong
an alert is open, and `donor_notice` refuses new contributions.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

import stripe
from sqlalchemy.ext.asyncio import AsyncSession

from payments.core.settings import Settings
from payments.infra import alerts, stripe_client
from payments.infra.alerts import AlertKind
from payments.infra.context import Context

ALERT_OBJECT_ID = "statement"  # there is one alert for the account
# The usual ways to write each letter in Latin ones; "-" where a letter is left out.
CYRILLIC_LETTERS = "абвгґдеєёжзиіїйклмнопрстуўфхцчшщъыьэюя"
TRANSLITERATIONS = """
    a b v|w g|h g d e|ye|je ye|ie|je e|yo|jo|io zh|j z i|y i yi|i|ji y|i|j k l m n o p r s t
    u|ou u|w f|ph kh|h|x|ch ts|c|tz ch sh shch|sch|sh - y|i - e yu|iu|ju|u ya|ia|ja
"""
LATIN_SPELLINGS = dict(
    zip(CYRILLIC_LETTERS, (s.strip("-").split("|") for s in TRANSLITERATIONS.split()), strict=True)
)


@dataclass(frozen=True, slots=True)
class CheckFinding:
    """The result of one check. `description` is for the operator, and names no secret."""

    name: str
    ok: bool
    description: str


def normalise_text(text: str) -> str:
    """Return the letters and digits of a text, without case, accents, spaces or signs."""
    # й and ё are letters of their own, not accented ones.
    composed = unicodedata.normalize("NFC", text.casefold())
    parts = (c if c in LATIN_SPELLINGS else unicodedata.normalize("NFKD", c) for c in composed)
    return "".join(c for c in "".join(parts) if c.isalnum())


def word_pattern(word: str) -> re.Pattern[str]:
    """Return what finds a word in a normalised text, in its own letters or in Latin ones."""
    letters = normalise_text(word)
    latin = "".join(
        f"(?:{'|'.join(LATIN_SPELLINGS[c])})" if c in LATIN_SPELLINGS else re.escape(c)
        for c in letters
    )
    return re.compile(f"{re.escape(letters)}|{latin}")


def forbidden_words_in(settings: Settings, text: str | None) -> Iterator[str]:
    """Yield the forbidden words of the policy that a text holds."""
    words = (
        settings.safety_policy.forbidden_descriptor_words
        if settings.safety_policy is not None
        else ()
    )
    normalised = normalise_text(text or "")
    return (word for word in words if word_pattern(word).search(normalised))


async def check_descriptors(ctx: Context) -> list[CheckFinding]:
    """Check what Stripe's account has banks and pages show. Raises StripeUnavailable."""
    with stripe_client.translate_errors():
        account = await ctx.stripe.v1.accounts.retrieve_current_async()
    public_texts = _public_account_texts(account)
    at_stripe = public_texts["statement_descriptor"]
    in_settings = ctx.settings.statement_descriptor
    is_same = bool(in_settings) and at_stripe == in_settings
    description = f"a bank statement shows “{at_stripe or ''}”, " + (
        "as readers are shown"
        if is_same
        else f"and PAYMENTS_STATEMENT_DESCRIPTOR is “{in_settings}”"
    )
    finding = CheckFinding("descriptor", is_same, description)
    return [finding, *_check_forbidden_words(ctx.settings, public_texts)]


def _public_account_texts(account: stripe.Account) -> dict[str, str | None]:
    """Return all texts of the account that others may read, by Stripe's names."""
    profile, settings = account.business_profile, account.settings
    cards = settings.card_payments if settings is not None else None
    return {
        "statement_descriptor": settings.payments.statement_descriptor if settings else None,
        "statement_descriptor_prefix": cards.statement_descriptor_prefix if cards else None,
        "display_name": settings.dashboard.display_name if settings else None,
        "business_name": profile.name if profile else None,
        "support_url": profile.support_url if profile else None,
        "support_email": profile.support_email if profile else None,
        "url": profile.url if profile else None,
    }


def _check_forbidden_words(
    settings: Settings, public_texts: dict[str, str | None]
) -> Iterator[CheckFinding]:
    """Yield whether each text holds a forbidden word. The word itself is not repeated."""
    if settings.safety_policy is None:
        return
    for name, text in public_texts.items():
        is_bad = any(forbidden_words_in(settings, text))
        description = f"{name} at Stripe holds {'a' if is_bad else 'no'} forbidden word"
        yield CheckFinding(f"words:{name}", not is_bad, description)


async def check_and_alert(ctx: Context, _account_id: str = "") -> list[CheckFinding]:
    """Check, and raise or close the alert that closes donations, where a policy is in force."""
    findings = await check_descriptors(ctx)
    if ctx.settings.safety_policy is None:
        return findings
    update_alert = alerts.close if all(finding.ok for finding in findings) else alerts.raise_alert
    async with ctx.sessions.begin() as session:
        await update_alert(
            session, AlertKind.STATEMENT_DESCRIPTOR, object_id=ALERT_OBJECT_ID, now=ctx.now()
        )
    return findings


async def scheduled_check(ctx: Context) -> None:
    """Check on a schedule. Stripe is not asked where no policy is in force."""
    if ctx.settings.safety_policy is not None:
        await check_and_alert(ctx)


async def is_alert_open(session: AsyncSession) -> bool:
    """Whether the last check under a policy found something wrong."""
    return await alerts.is_open(session, AlertKind.STATEMENT_DESCRIPTOR, object_id=ALERT_OBJECT_ID)
