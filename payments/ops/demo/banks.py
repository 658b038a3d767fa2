"""What banks, card networks and Stripe do in the demo: dispute and decide, decline, convert, charge
fees, hold a reserve, return a payout.

The card numbers are Stripe's: https://docs.stripe.com/testing
"""

from datetime import timedelta

from payments.ops.demo.simulation import Simulation
from payments.sandbox.hosted_page_client import pay

CARD_DISPUTED = "4000000000000259"  # paid, and disputed at once
CARD_INQUIRY = "4000000000001976"
CARD_FRAUD_WARNING = "4000000000005423"
CARD_REFUND_FAILS = "4000000000005126"  # its refund fails two days later
CARD_AVAILABLE_AT_ONCE = "4000000000000077"  # its money can be paid out at once


async def donate_once(sim: Simulation, card: str, currency: str = "eur") -> str:
    """Give 25.00 once, with a card that decides what follows. Returns the charge's id."""
    async with sim.browser() as browser:
        page = await browser.get(f"/donate?currency={currency}")
        response = await browser.submit(page, "/donate", frequency="once", amount_once="2500")
    await pay(response.headers["location"], card=card, email="once@example.org")
    await sim.run_worker()
    (charge,) = (await sim.ctx.stripe.v1.charges.list_async({"limit": 1})).data
    return charge.id


async def open_dispute(sim: Simulation) -> None:
    """A bank disputes a contribution."""
    await donate_once(sim, CARD_DISPUTED)


async def open_inquiry(sim: Simulation) -> None:
    """A bank asks about a contribution, and takes nothing back yet."""
    await donate_once(sim, CARD_INQUIRY)


async def send_fraud_warning(sim: Simulation) -> None:
    """A card network warns of fraud."""
    await donate_once(sim, CARD_FRAUD_WARNING)


async def submit_evidence(sim: Simulation) -> None:
    """A colleague answers the newest dispute, and the bank has not decided."""
    await _submit_evidence(sim, "They give every year")


async def lose_dispute(sim: Simulation) -> None:
    """The bank decides the newest dispute for the donor."""
    await _submit_evidence(sim, "losing_evidence")


async def win_dispute(sim: Simulation) -> None:
    """The bank decides the newest dispute for us."""
    await _submit_evidence(sim, "winning_evidence")


async def _submit_evidence(sim: Simulation, evidence: str) -> None:
    """Submit evidence to the newest dispute at Stripe; some texts make the bank decide at once."""
    (newest,) = (await sim.ctx.stripe.v1.disputes.list_async({"limit": 1})).data
    params = {"evidence": {"uncategorized_text": evidence}}
    sim.sandbox.dashboard_request("POST", f"/v1/disputes/{newest.id}", params)


async def fail_refund(sim: Simulation) -> None:
    """A refund made at Stripe goes to a card that has been closed, and fails two days later."""
    charge = await donate_once(sim, CARD_REFUND_FAILS)
    sim.sandbox.dashboard_request("POST", "/v1/refunds", {"charge": charge})


async def decline_cards(sim: Simulation) -> None:
    """Banks decline every subscription's card from now on."""
    for card in await _subscription_cards(sim):
        sim.sandbox.fail_card(card, "insufficient_funds")


async def accept_cards(sim: Simulation) -> None:
    """Banks accept those cards again, and Stripe's next retry succeeds."""
    for card in await _subscription_cards(sim):
        sim.sandbox.restore_card(card)


async def _subscription_cards(sim: Simulation) -> list[str]:
    page = await sim.ctx.stripe.v1.subscriptions.list_async({"limit": 100})
    return [str(s.default_payment_method) for s in page.data if s.default_payment_method]


async def return_payout(sim: Simulation) -> None:
    """Our bank returns the newest payout."""
    (newest,) = (await sim.ctx.stripe.v1.payouts.list_async({"limit": 1})).data
    sim.sandbox.fail_payout(newest.id)


async def convert_currency(sim: Simulation) -> None:
    """Stripe converts pounds to dollars, for a fee."""
    sim.sandbox.convert_balance(1500, "gbp", "usd")
    sim.sandbox.charge_fee("fx", 15)


async def hold_reserve(sim: Simulation) -> None:
    """Stripe sets a part of the balance aside."""
    sim.sandbox.hold_reserve(2000)


async def release_reserve(sim: Simulation) -> None:
    """Stripe returns what it set aside to the balance."""
    sim.sandbox.release_reserve(2000)


async def pay_out_instantly(sim: Simulation) -> None:
    """A colleague pays out by hand at Stripe, for a fee, before the weekly payout."""
    await donate_once(sim, CARD_AVAILABLE_AT_ONCE)
    params = {"amount": 2300, "currency": "eur", "method": "instant"}
    sim.sandbox.dashboard_request("POST", "/v1/payouts", params)


async def post_late_fee(sim: Simulation) -> None:
    """Stripe lists a fee of the evening before, when that month is closed already."""
    evening = sim.clock.current - timedelta(hours=sim.clock.current.hour + 4)
    sim.sandbox.charge_fee("radar", 240, at=evening)
    await sim.import_balance()
