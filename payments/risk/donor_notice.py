"""The donor notice: what a safety policy has readers read and declare before they give.

The texts are ours unless the policy brings its own for a language. The declaration is not stored: a
contribution that was started under a policy was declared, and there is no list of declarations that
anybody could seize.
"""

from dataclasses import dataclass
from datetime import timedelta

from babel import Locale
from sqlalchemy.ext.asyncio import AsyncSession

from payments.core import i18n
from payments.core.errors import PaymentsError
from payments.core.i18n import gettext_noop
from payments.core.safety_policy import Policy, RecurringRule
from payments.core.settings import Settings
from payments.risk import emergency_stops, statement_descriptor

DECLARATION_FIELD = "declaration"
TITLE_TEXT = gettext_noop("Read this before you pay")
ELIGIBILITY_TEXT = gettext_noop(
    "Do not pay if you are in one of these countries, live there, or would use a card or account "
    "of a bank there: %(countries)s. There, a payment to us may be prosecuted."
)
BANK_VISIBILITY_TEXT = gettext_noop(
    "Your bank sees the amount, the day and who receives it, and so can any authority that "
    "can compel it. A neutral name on the statement does not hide a payment from a search."
)
LONG_TERM_RISK_TEXT = gettext_noop(
    "Banks keep this for years, and what is safe today may be used against you later. "
    "Nobody can remove it from their records; a refund only adds a second line. Do not "
    "show a receipt to others."
)
DECLARATION_TEXT = gettext_noop(
    "I am not in any of these countries, I do not live there, and I do not pay from a bank there: "
    "%(countries)s."
)
CHECKOUT_TEXT = gettext_noop(
    "Do not pay if you are in one of these countries or your card is from there: %(countries)s. "
    "Your bank sees this payment and keeps it for years."
)
LOCATION_WARNING_TEXT = gettext_noop(
    "It looks as if you are in one of these countries now. If so, please close this page "
    "without paying."
)


@dataclass(frozen=True, slots=True)
class DonorNotice:
    """The texts in one language, ready to print. `warning` is empty unless the reader seems to be
    in a protected country.
    """

    title: str
    who: str
    bank: str
    later: str
    declaration: str
    checkout: str
    warning: str = ""


class DeclarationRequired(PaymentsError):
    """A policy is in force, and the declaration was not accepted."""

    status = 409
    code = "declaration-required"
    title = "Please read and confirm first"

    def __init__(self) -> None:
        super().__init__(
            "Please read the notice and confirm that you may pay. Nothing was charged.",
            field=DECLARATION_FIELD,
        )


class RecurringNotAccepted(PaymentsError):
    """The policy takes single gifts only: a subscription is a line a month at the donor's bank."""

    status = 409
    code = "recurring-not-accepted"
    title = "Only one-time gifts are accepted"

    def __init__(self) -> None:
        super().__init__(
            "To keep readers safe, we only take one-time gifts. Nothing was charged.",
            field="frequency",
        )


class DonationsClosed(PaymentsError):
    """The statement descriptor is not what it should be, or an emergency stop of all stands."""

    status = 503
    code = "donations-closed"
    title = "We cannot take gifts right now"
    retry_after = timedelta(hours=1)

    def __init__(self) -> None:
        super().__init__(
            "We have closed donations to keep readers safe, and are fixing it. Nothing was charged."
        )


def notice_for(
    policy: Policy | None, language_tag: str, *, in_protected_country: bool = False
) -> DonorNotice | None:
    """Return the notice in a language; None where no policy is in force."""
    if policy is None:
        return None
    translations = i18n.translations(language_tag)
    countries = protected_country_names(policy, language_tag)
    warning = translations.gettext(LOCATION_WARNING_TEXT) if in_protected_country else ""
    own = policy.texts.get(i18n.language_tag(language_tag)) or policy.texts.get(language_tag)
    if own is not None:
        return DonorNotice(
            own.title, own.who, own.bank, own.later, own.declaration, own.checkout, warning
        )

    def translate(text: str) -> str:
        return translations.gettext(text) % {"countries": countries}

    return DonorNotice(
        translate(TITLE_TEXT),
        translate(ELIGIBILITY_TEXT),
        translate(BANK_VISIBILITY_TEXT),
        translate(LONG_TERM_RISK_TEXT),
        translate(DECLARATION_TEXT),
        translate(CHECKOUT_TEXT),
        warning,
    )


def protected_country_names(policy: Policy, language_tag: str) -> str:
    """Return the names of the protected countries in a language, separated by its commas."""
    names = Locale.parse(language_tag).territories
    countries = (str(names.get(code, code)) for code in policy.protected_countries)
    return i18n.comma(language_tag).join(countries)


async def enforce_policy(
    session: AsyncSession, settings: Settings, *, declaration_accepted: bool, is_recurring: bool
) -> None:
    """Let a contribution pass that the policy allows.

    Raises DonationsClosed, RecurringNotAccepted or DeclarationRequired.
    """
    if await emergency_stops.is_stopping_all(session):
        raise DonationsClosed
    policy = settings.safety_policy
    if policy is None:
        return
    if is_recurring and policy.recurring is RecurringRule.REFUSED:
        raise RecurringNotAccepted
    if not declaration_accepted:
        raise DeclarationRequired
    if await statement_descriptor.is_alert_open(session):
        raise DonationsClosed
