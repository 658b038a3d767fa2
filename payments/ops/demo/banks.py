"""What banks, card networks and Stripe do in the demo: dispute and decide, refuse, convert, take
fees, set money aside, send a payout back.
"""

from datetime import timedelta

from payments.ops.demo.year import Year
from payments.sandbox.reader import pay

DISPUTED = "4000000000000259"  # paid, and taken back by the bank
ASKED_ABOUT = "4000000000001976"
WARNED = "4000000000005423"
NOT_TAKEN_BACK = "4000000000005126"  # its refund fails two days later
AT_ONCE = "4000000000000077"  # what it pays can be paid out at once


async def takes(year: Year, card: str, currency: str = "eur") -> str:
    """Somebody gives once, and their bank may not leave it at that. Gives the charge."""
    async with year.browser() as browser:
        page = await browser.opens(f"/donate?currency={currency}")
        answer = await browser.presses(page, "/donate", frequency="once", amount_once="2500")
    await pay(answer.headers["location"], card=card, email="once@example.org")
    await year.works()
    (charge,) = (await year.rt.stripe.v1.charges.list_async({"limit": 1})).data
    return charge.id


async def disputes(year: Year) -> None:
    await takes(year, DISPUTED)


async def asks_about(year: Year) -> None:
    await takes(year, ASKED_ABOUT)


async def warns(year: Year) -> None:
    await takes(year, WARNED)


async def answers(year: Year) -> None:
    await _answers(year, "They give every year")


async def loses(year: Year) -> None:
    await _answers(year, "losing_evidence")


async def wins(year: Year) -> None:
    await _answers(year, "winning_evidence")


async def _answers(year: Year, evidence: str) -> None:
    """A colleague hands in evidence at Stripe; by some words the bank decides at once."""
    (newest,) = (await year.rt.stripe.v1.disputes.list_async({"limit": 1})).data
    handed_in = {"evidence": {"uncategorized_text": evidence}}
    year.sandbox.dashboard("POST", f"/v1/disputes/{newest.id}", handed_in)


async def refund_does_not_arrive(year: Year) -> None:
    """Given back at Stripe, to a card that has been closed."""
    charge = await takes(year, NOT_TAKEN_BACK)
    year.sandbox.dashboard("POST", "/v1/refunds", {"charge": charge})


async def refuses(year: Year) -> None:
    """A bank has a bad weekend: it refuses every card."""
    for card in await _cards(year):
        year.sandbox.fail_card(card, "insufficient_funds")


async def relents(year: Year) -> None:
    """It is well again, and Stripe's next try goes through."""
    for card in await _cards(year):
        year.sandbox.heal_card(card)


async def _cards(year: Year) -> list[str]:
    """What promises are charged to."""
    found = await year.rt.stripe.v1.subscriptions.list_async({"limit": 100})
    return [str(one.default_payment_method) for one in found.data if one.default_payment_method]


async def sends_back(year: Year) -> None:
    """Our bank does not take a payout."""
    (newest,) = (await year.rt.stripe.v1.payouts.list_async({"limit": 1})).data
    year.sandbox.fail_payout(newest.id)


async def converts(year: Year) -> None:
    """Pounds become dollars, for a fee."""
    year.sandbox.convert(1500, "gbp", "usd")
    year.sandbox.charge_fee("fx", 15)


async def sets_aside(year: Year) -> None:
    year.sandbox.hold_reserve(2000)


async def lets_go(year: Year) -> None:
    year.sandbox.release_reserve(2000)


async def pays_by_hand(year: Year) -> None:
    """Somebody at Stripe does not wait for the night, which costs a fee."""
    await takes(year, AT_ONCE)
    by_hand = {"amount": 2300, "currency": "eur", "method": "instant"}
    year.sandbox.dashboard("POST", "/v1/payouts", by_hand)


async def tells_late(year: Year) -> None:
    """Stripe tells of a fee from the evening before, when that month is closed already."""
    evening = year.clock.at - timedelta(hours=year.clock.at.hour + 4)
    year.sandbox.charge_fee("radar", 240, at=evening)
    await year.imports()
