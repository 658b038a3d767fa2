"""What banks, card networks and Stripe do in the demo: dispute and decide, refuse, convert, take
fees, set money aside, send a payout back.
"""

from datetime import timedelta

from payments.ops.demo.simulation import Simulation
from payments.sandbox.hosted_page_client import pay

CARD_DISPUTED = "4000000000000259"  # paid, and taken back by the bank
CARD_INQUIRY = "4000000000001976"
CARD_FRAUD_WARNING = "4000000000005423"
CARD_REFUND_FAILS = "4000000000005126"  # its refund fails two days later
CARD_AVAILABLE_AT_ONCE = "4000000000000077"  # what it pays can be paid out at once


async def donate_once(sim: Simulation, card: str, currency: str = "eur") -> str:
    """Somebody gives once, and their bank may not leave it at that. Gives the charge."""
    async with sim.browser() as browser:
        page = await browser.get(f"/donate?currency={currency}")
        answer = await browser.submit(page, "/donate", frequency="once", amount_once="2500")
    await pay(answer.headers["location"], card=card, email="once@example.org")
    await sim.run_worker()
    (charge,) = (await sim.ctx.stripe.v1.charges.list_async({"limit": 1})).data
    return charge.id


async def open_dispute(sim: Simulation) -> None:
    await donate_once(sim, CARD_DISPUTED)


async def open_inquiry(sim: Simulation) -> None:
    await donate_once(sim, CARD_INQUIRY)


async def send_fraud_warning(sim: Simulation) -> None:
    await donate_once(sim, CARD_FRAUD_WARNING)


async def submit_evidence(sim: Simulation) -> None:
    await _submit_evidence(sim, "They give every year")


async def lose_dispute(sim: Simulation) -> None:
    await _submit_evidence(sim, "losing_evidence")


async def win_dispute(sim: Simulation) -> None:
    await _submit_evidence(sim, "winning_evidence")


async def _submit_evidence(sim: Simulation, evidence: str) -> None:
    """A colleague hands in evidence at Stripe; by some words the bank decides at once."""
    (newest,) = (await sim.ctx.stripe.v1.disputes.list_async({"limit": 1})).data
    handed_in = {"evidence": {"uncategorized_text": evidence}}
    sim.sandbox.dashboard_request("POST", f"/v1/disputes/{newest.id}", handed_in)


async def fail_refund(sim: Simulation) -> None:
    """Given back at Stripe, to a card that has been closed."""
    charge = await donate_once(sim, CARD_REFUND_FAILS)
    sim.sandbox.dashboard_request("POST", "/v1/refunds", {"charge": charge})


async def decline_cards(sim: Simulation) -> None:
    """A bank has a bad weekend: it refuses every card."""
    for card in await _subscription_cards(sim):
        sim.sandbox.fail_card(card, "insufficient_funds")


async def accept_cards(sim: Simulation) -> None:
    """It is well again, and Stripe's next try goes through."""
    for card in await _subscription_cards(sim):
        sim.sandbox.restore_card(card)


async def _subscription_cards(sim: Simulation) -> list[str]:
    """What promises are charged to."""
    found = await sim.ctx.stripe.v1.subscriptions.list_async({"limit": 100})
    return [str(one.default_payment_method) for one in found.data if one.default_payment_method]


async def return_payout(sim: Simulation) -> None:
    """Our bank does not take a payout."""
    (newest,) = (await sim.ctx.stripe.v1.payouts.list_async({"limit": 1})).data
    sim.sandbox.fail_payout(newest.id)


async def convert_currency(sim: Simulation) -> None:
    """Pounds become dollars, for a fee."""
    sim.sandbox.convert_balance(1500, "gbp", "usd")
    sim.sandbox.charge_fee("fx", 15)


async def hold_reserve(sim: Simulation) -> None:
    sim.sandbox.hold_reserve(2000)


async def release_reserve(sim: Simulation) -> None:
    sim.sandbox.release_reserve(2000)


async def pay_out_instantly(sim: Simulation) -> None:
    """Somebody at Stripe does not wait for the night, which costs a fee."""
    await donate_once(sim, CARD_AVAILABLE_AT_ONCE)
    by_hand = {"amount": 2300, "currency": "eur", "method": "instant"}
    sim.sandbox.dashboard_request("POST", "/v1/payouts", by_hand)


async def post_late_fee(sim: Simulation) -> None:
    """Stripe tells of a fee from the evening before, when that month is closed already."""
    evening = sim.clock.current - timedelta(hours=sim.clock.current.hour + 4)
    sim.sandbox.charge_fee("radar", 240, at=evening)
    await sim.import_balance()
