"""Breaches: what each of those who may take or be made to give something would learn.

`/safety` and `docs/donor-safety.md` say this; `tests/safety/test_seizure.py` plays each of them.
"""

from dataclasses import dataclass
from enum import StrEnum

from payments.core.i18n import gettext_noop


class Holding(StrEnum):
    """What somebody has got hold of."""

    DATABASE = "database"
    SERVER = "server"
    BACKUPS = "backups"
    LOGS = "logs"
    FINANCE_ACCOUNT = "finance account"
    SUPPORT_ACCOUNT = "support account"
    MAIL_PROVIDER = "mail provider"
    STRIPE = "stripe"
    BANK = "bank"


@dataclass(frozen=True, slots=True)
class Breach:
    """What one holding surrenders, and what it does not, in sentences for a reader."""

    holder: str
    gets: str
    does_not_get: str


_NO_PERSON = gettext_noop("Any name, e-mail address, IP address or card, or what somebody read.")

BREACHES = {
    Holding.DATABASE: Breach(
        gettext_noop("Our database, without the keys"),
        gettext_noop(
            "Amounts, days, Stripe's numbers, and hashes and sealed addresses that are useless "
            "without the keys."
        ),
        _NO_PERSON,
    ),
    Holding.SERVER: Breach(
        gettext_noop("Our server with all its keys, while it is running"),
        gettext_noop(
            "All of the above; the addresses that wait for a reminder or a newsletter; the "
            "ability to try guessed addresses, about a hundred a second on each processor "
            "core, and so to find out whether the owner of a known address gave; which "
            "networks used our forms today; and, with our key to Stripe, whatever Stripe "
            "shows us: names, e-mail addresses, cards' last digits."
        ),
        gettext_noop(
            "What was erased or has expired, past reminders, and what you read. Stripe can "
            "still disclose what it holds of that."
        ),
    ),
    Holding.BACKUPS: Breach(
        gettext_noop("A backup of our database"),
        gettext_noop(
            "What the database held when the backup was made, including about those erased "
            "since; with our keys, what the server would give."
        ),
        gettext_noop(
            "Any address for a reminder or newsletter: those are encrypted with keys that "
            "no backup may hold."
        ),
    ),
    Holding.LOGS: Breach(
        gettext_noop("Our logs and operating figures"),
        gettext_noop("Counts, kinds of pages, durations and kinds of errors."),
        _NO_PERSON,
    ),
    Holding.FINANCE_ACCOUNT: Breach(
        gettext_noop("The account of a colleague in finance"),
        gettext_noop("Amounts, days, campaigns and the numbers of gifts."),
        _NO_PERSON,
    ),
    Holding.SUPPORT_ACCOUNT: Breach(
        gettext_noop("The account of a colleague in support"),
        gettext_noop(
            "For an address they already know: whether its owner gave, and what. Twenty "
            "addresses an hour, each of which is recorded."
        ),
        gettext_noop("A list of donors, or any address."),
    ),
    Holding.MAIL_PROVIDER: Breach(
        gettext_noop("The mail server that sends our e-mails, or the one where you read them"),
        gettext_noop("Your address, if we wrote to you, and the text, which may say you gave."),
        gettext_noop("Anything about those we never wrote to, and any card."),
    ),
    Holding.STRIPE: Breach(
        gettext_noop("Stripe, for instance by order of a court"),
        gettext_noop("Who gave, when and how much; e-mail address, card and IP address."),
        gettext_noop("What you read. We can't protect you from this one."),
    ),
    Holding.BANK: Breach(
        gettext_noop("Your bank"),
        gettext_noop("That you paid, the line above, when and how much. It keeps that for years."),
        gettext_noop("What you read. We can't protect you from this one."),
    ),
}
