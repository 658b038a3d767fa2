"""Who gives in the demo: the same readers every time, each with a day, an amount and a card."""

import random
from dataclasses import dataclass

from payments.core import money
from payments.core.frequency import OFFERED_FREQUENCIES, Frequency

SUPPORTER_COUNT = 50
HISTORY_DAYS = 395
FUND_CAMPAIGN, COURT_CAMPAIGN = "newsroom-fund", "court-file"
COURT_CAMPAIGN_STARTS_DAYS_AGO = 210  # days before the present
ARTICLES = ("the-quiet-ferry", "who-owns-the-river", "letters-from-a-cell")
CARD_SUCCEEDS = "4242424242424242"
CARD_DECLINED = "4000000000000002"
CARD_FAILS_ON_RENEWAL = "4000000000000341"
ONCE, MONTHLY, ANNUAL = Frequency.ONCE, Frequency.MONTHLY, Frequency.ANNUAL


@dataclass(frozen=True, slots=True)
class Supporter:
    """One reader who gives: on which day before the present, by which link, and how.

    `amount` is in minor units of `currency`.
    """

    number: int
    days_ago: int
    frequency: Frequency
    currency: str
    amount: int
    card: str = CARD_SUCCEEDS
    campaign: str = ""
    article: str = ""
    lang: str = "en"
    abandons_checkout: bool = False  # leaves Stripe's page without paying
    first_card_declined: bool = False

    @property
    def email(self) -> str:
        """Return the address of a supporter."""
        return f"reader{self.number}@example.org"


def generate_supporters(rng: random.Random) -> list[Supporter]:
    """Return all supporters, earliest first. They depend on nothing but `rng`."""
    supporters = []
    for number in range(SUPPORTER_COUNT):
        days_ago = rng.randrange(1, HISTORY_DAYS)
        frequency = rng.choices(OFFERED_FREQUENCIES, weights=(42, 44, 14))[0]
        # Francs are settled in dollars, so they bring an exchange rate with them.
        currency = rng.choices(("usd", "eur", "gbp", "chf"), weights=(46, 32, 16, 6))[0]
        campaigns = (
            ("", FUND_CAMPAIGN, COURT_CAMPAIGN, COURT_CAMPAIGN)
            if days_ago < COURT_CAMPAIGN_STARTS_DAYS_AGO
            else ("", FUND_CAMPAIGN)
        )
        supporters.append(
            Supporter(
                number=number,
                days_ago=days_ago,
                frequency=frequency,
                currency=currency,
                amount=rng.choice(money.suggested_amounts(currency, frequency)).amount,
                card=rng.choices((CARD_SUCCEEDS, CARD_FAILS_ON_RENEWAL), weights=(93, 7))[0],
                campaign=rng.choice(campaigns),
                article=rng.choice(("", *ARTICLES)),
                lang=rng.choices(("en", "ru"), weights=(85, 15))[0],
                abandons_checkout=rng.random() < 0.08,
                first_card_declined=rng.random() < 0.08,
            )
        )
    return sorted(supporters, key=lambda supporter: -supporter.days_ago)
