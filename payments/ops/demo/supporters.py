"""Who gives in the demo: the same readers every time, each with a day, a promise and a card."""

import random
from dataclasses import dataclass

from payments.core import money
from payments.core.frequency import Frequency

SUPPORTER_COUNT, HISTORY_DAYS = 64, 395
FUND_CAMPAIGN, COURT_CAMPAIGN = "newsroom-fund", "court-file"  # campaigns
COURT_CAMPAIGN_STARTS_DAYS_AGO = 210  # days before the present
ARTICLES = ("the-quiet-ferry", "who-owns-the-river", "letters-from-a-cell")
CARD_SUCCEEDS = "4242424242424242"
CARD_DECLINED = "4000000000000002"
CARD_FAILS_ON_RENEWAL = "4000000000000341"
ONCE, MONTHLY, ANNUAL = Frequency.ONCE, Frequency.MONTHLY, Frequency.ANNUAL


@dataclass(frozen=True, slots=True)
class Supporter:
    """Who comes so many days before the present, by what link, and how they give."""

    number: int
    days_ago: int
    frequency: Frequency
    currency: str
    amount: int
    card: str = CARD_SUCCEEDS
    campaign: str = ""
    article: str = ""
    lang: str = "en"
    abandons_checkout: bool = False  # leaves Stripe's page again
    first_card_declined: bool = False  # the first card is declined

    @property
    def email(self) -> str:
        return f"reader{self.number}@example.org"


def generate_supporters(rng: random.Random) -> list[Supporter]:
    """All of them, the first first; the same on whatever day the story is told."""
    people = []
    for number in range(SUPPORTER_COUNT):
        ago = rng.randrange(1, HISTORY_DAYS)
        frequency = rng.choices(list(Frequency), weights=(42, 44, 14))[0]
        # Francs are settled in dollars, so they bring an exchange rate with them.
        currency = rng.choices(("usd", "eur", "gbp", "chf"), weights=(46, 32, 16, 6))[0]
        campaigns = (
            ("", FUND_CAMPAIGN, COURT_CAMPAIGN, COURT_CAMPAIGN)
            if ago < COURT_CAMPAIGN_STARTS_DAYS_AGO
            else ("", FUND_CAMPAIGN)
        )
        people.append(
            Supporter(
                number=number,
                days_ago=ago,
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
    return sorted(people, key=lambda person: -person.days_ago)
