"""Who gives in the demo: the same readers every time, each with a day, a promise and a card."""

import random
from dataclasses import dataclass

from payments.core import money
from payments.giving.checkout_session import Frequency

SUPPORTERS, DAYS = 64, 395
FUND, COURT = "newsroom-fund", "court-file"  # campaigns
COURT_OPENS = 210  # days before the present
STORIES = ("the-quiet-ferry", "who-owns-the-river", "letters-from-a-cell")
GOOD = "4242424242424242"
DECLINED = "4000000000000002"
FAILS_LATER = "4000000000000341"
ONCE, MONTHLY, ANNUAL = Frequency.ONCE, Frequency.MONTHLY, Frequency.ANNUAL


@dataclass(frozen=True, slots=True)
class Supporter:
    """Who comes so many days before the present, by what link, and how they give."""

    number: int
    ago: int
    frequency: Frequency
    currency: str
    minor: int
    card: str = GOOD
    campaign: str = ""
    story: str = ""
    lang: str = "en"
    hesitates: bool = False  # leaves Stripe's page again
    mistypes: bool = False  # the first card is declined

    @property
    def address(self) -> str:
        return f"reader{self.number}@example.org"


def supporters(chance: random.Random) -> list[Supporter]:
    """All of them, the first first; the same on whatever day the story is told."""
    people = []
    for number in range(SUPPORTERS):
        ago = chance.randrange(1, DAYS)
        frequency = chance.choices(list(Frequency), weights=(42, 44, 14))[0]
        # Francs are settled in dollars, so they bring an exchange rate with them.
        currency = chance.choices(("usd", "eur", "gbp", "chf"), weights=(46, 32, 16, 6))[0]
        campaigns = ("", FUND, COURT, COURT) if ago < COURT_OPENS else ("", FUND)
        people.append(
            Supporter(
                number=number,
                ago=ago,
                frequency=frequency,
                currency=currency,
                minor=chance.choice(money.presets(currency, frequency)).amount,
                card=chance.choices((GOOD, FAILS_LATER), weights=(93, 7))[0],
                campaign=chance.choice(campaigns),
                story=chance.choice(("", *STORIES)),
                lang=chance.choices(("en", "ru"), weights=(85, 15))[0],
                hesitates=chance.random() < 0.08,
                mistypes=chance.random() < 0.08,
            )
        )
    return sorted(people, key=lambda person: -person.ago)
