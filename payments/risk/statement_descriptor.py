"""What a donor's bank will print, as Stripe's account has it: compared with what we promise, and
searched for words that must not be there.

A word is found however it is written: in another case, with other spaces, as a part of a domain, in
Cyrillic or in one of the usual transliterations of it. While a policy is in force and something is
wrong, donations are closed: an alarm is open, and `notices` refuses.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

import stripe

from payments.core.settings import Settings
from payments.infra import alerts, stripe_client
from payments.infra.alerts import AlertKind
from payments.infra.context import Context

ALERT_OBJECT_ID = "statement"
# The usual ways to write each letter in Latin ones; a sign that is left out is "-".
CYRILLIC_LETTERS = "абвгґдеєёжзиіїйклмнопрстуўфхцчшщъыьэюя"
TRANSLITERATIONS = """
    a b v|w g|h g d e|ye|je ye|ie|je e|yo|jo|io zh|j z i|y i yi|i|ji y|i|j k l m n o p r s t
    u|ou u|w f|ph kh|h|x|ch ts|c|tz ch sh shch|sch|sh - y|i - e yu|iu|ju|u ya|ia|ja
"""
LATIN_SPELLINGS = dict(
    zip(CYRILLIC_LETTERS, (w.strip("-").split("|") for w in TRANSLITERATIONS.split()), strict=True)
)


@dataclass(frozen=True, slots=True)
class CheckFinding:
    """One thing that was looked at. `says` is for the operator, and names no secret."""

    name: str
    ok: bool
    description: str


def normalise_text(text: str) -> str:
    """The letters and digits of a text, without case, accents, spaces or signs."""
    # й and ё are letters of their own and not an accent upon another.
    whole = unicodedata.normalize("NFC", text.casefold())
    kept = (c if c in LATIN_SPELLINGS else unicodedata.normalize("NFKD", c) for c in whole)
    return "".join(c for c in "".join(kept) if c.isalnum())


def word_pattern(word: str) -> re.Pattern[str]:
    """What finds a word in a plain text, in its own letters or in Latin ones."""
    letters = normalise_text(word)
    latin = "".join(
        f"(?:{'|'.join(LATIN_SPELLINGS[c])})" if c in LATIN_SPELLINGS else re.escape(c)
        for c in letters
    )
    return re.compile(f"{re.escape(letters)}|{latin}")


def forbidden_words_in(settings: Settings, text: str | None) -> Iterator[str]:
    """The words of the policy that a text holds."""
    words = (
        settings.safety_policy.forbidden_descriptor_words
        if settings.safety_policy is not None
        else ()
    )
    seen = normalise_text(text or "")
    return (word for word in words if word_pattern(word).search(seen))


async def check_descriptors(ctx: Context) -> list[CheckFinding]:
    """What Stripe's account would have banks and pages show."""
    with stripe_client.translate_errors():
        account = await ctx.stripe.v1.accounts.retrieve_current_async()
    shown = _public_account_texts(account)
    bank = shown["statement_descriptor"]
    promised = ctx.settings.statement_descriptor
    same = bool(promised) and bank == promised
    says = (
        f"a bank statement shows “{bank or ''}”, and PAYMENTS_STATEMENT_DESCRIPTOR promises “{promised}”"
        if not same
        else f"a bank statement shows “{bank}”, as promised"
    )
    return [CheckFinding("statement", same, says), *_check_forbidden_words(ctx.settings, shown)]


def _public_account_texts(account: stripe.Account) -> dict[str, str | None]:
    """All that others may read, by Stripe's names."""
    profile, chosen = account.business_profile, account.settings
    cards = chosen.card_payments if chosen is not None else None
    return {
        "statement_descriptor": chosen.payments.statement_descriptor if chosen else None,
        "statement_descriptor_prefix": cards.statement_descriptor_prefix if cards else None,
        "display_name": chosen.dashboard.display_name if chosen else None,
        "business_name": profile.name if profile else None,
        "support_url": profile.support_url if profile else None,
        "support_email": profile.support_email if profile else None,
        "url": profile.url if profile else None,
    }


def _check_forbidden_words(
    settings: Settings, public_texts: dict[str, str | None]
) -> Iterator[CheckFinding]:
    """Whether any of it holds a word that must not be there. The word itself is not repeated."""
    if settings.safety_policy is None:
        return
    for name, text in public_texts.items():
        bad = any(forbidden_words_in(settings, text))
        says = f"{name} at Stripe holds {'a' if bad else 'no'} forbidden word"
        yield CheckFinding(f"words:{name}", not bad, says)


async def check_and_alert(ctx: Context, _account_id: str = "") -> list[CheckFinding]:
    """Look, and close donations or open them again. Nothing is done where no policy is in force."""
    found = await check_descriptors(ctx)
    if ctx.settings.safety_policy is None:
        return found
    change = alerts.close if all(one.ok for one in found) else alerts.raise_alert
    async with ctx.sessions.begin() as session:
        await change(
            session, AlertKind.STATEMENT_DESCRIPTOR, object_id=ALERT_OBJECT_ID, now=ctx.now()
        )
    return found


async def scheduled_check(ctx: Context) -> None:
    """The same on a schedule, only where a policy is in force."""
    if ctx.settings.safety_policy is not None:
        await check_and_alert(ctx)
