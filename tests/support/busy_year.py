"""A year in which money moves in every way there is: three currencies that settle, two that
are converted, and all that banks, networks and Stripe do of themselves.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta

from payments.sandbox.hosted_page_client import pay
from tests.support.newsroom import Newsroom

CONTRIBUTIONS = [
    (2500, "once", "usd"),
    (500, "monthly", "usd"),
    (9000, "annual", "usd"),
    (900, "once", "eur"),
    (700, "monthly", "eur"),
    (1200, "once", "gbp"),
    (300, "monthly", "gbp"),
    (1500, "once", "jpy"),  # settles in dollars
    (2000, "monthly", "cad"),  # and so does this
]
SEPA_ACCOUNTS = [
    "AT611904300234573201",  # pays after three days
    "AT911904300235473209",  # and takes it back a week later
]
PROBLEM_CARDS = [
    "4000000000000259",  # disputed
    "4000000000001976",  # inquired about
    "4000000000005423",  # warned of
    "4000000000005126",  # its refund fails
    "4000000000007726",  # its refund is pending for a day
]


async def play(
    room: Newsroom,
    sync: Callable[[], Awaitable[None]] | None = None,
    *,
    months_of_renewals: int = 7,
) -> None:
    """Play the whole year; `sync` is how we learn of what happened, by default from webhooks.

    After all that happens in it, there are so many months of renewals and nothing else.
    """
    sync = sync or room.runs_until_idle
    sandbox = room.sandbox
    for amount, frequency, currency in CONTRIBUTIONS:
        await room.gives(amount, frequency, currency)
    for card in PROBLEM_CARDS:
        response = await room.requests_contribution(3100)
        await room.pays(response.json()["checkout_url"], card)
    await sync()
    await _refund_some(room)
    await sync()
    sandbox.charge_fee("radar", 120)
    sandbox.charge_fee("tax", 21)
    sandbox.charge_fee("fx", 9, "eur")
    sandbox.charge_fee("billing", 70, "gbp")
    sandbox.hold_reserve(800)
    await _dispute_some(room)
    for day in range(9):
        await room.advances_time(timedelta(days=5))
        if day == 2:
            sandbox.delay_reconciliation(3600 * 30)
        await sync()
    await _create_manual_payouts(room)
    await sync()
    sandbox.convert_balance(400, "gbp", "usd")
    sandbox.set_rate("cad", "0.80")
    sandbox.release_reserve(800)
    sandbox.set_minimum_balance(1000)
    for _ in range(15):
        await room.advances_time(timedelta(days=5))
        await sync()
    await _play_second_half(room, sync, months_of_renewals)
    await _fail_latest_payout(room)
    await _make_balance_negative(room)
    for _ in range(6):
        await room.advances_time(timedelta(days=2))
        await sync()


async def _refund_some(room: Newsroom) -> None:
    """In parts, of a renewal's first payment, of what was converted, and what comes back."""
    for charge in list(room.sandbox.account.store.of_kind("charge")):
        if charge["disputed"] or not charge["paid"]:
            continue
        for amount in {"jpy": (500, 500), "cad": (300,), "gbp": (100, 100, 100)}.get(
            charge["currency"], ()
        ):
            await _refund(room, charge["id"], amount)
        if charge["amount"] == 3100:
            await _refund(room, charge["id"], 3100)


async def _refund(room: Newsroom, charge_id: str, amount: int) -> None:
    await room.stripe_owner.v1.refunds.create_async({"charge": charge_id, "amount": amount})


async def _dispute_some(room: Newsroom) -> None:
    """One is lost by the card above; one won, one a part, and one of another currency."""
    gifts = [c for c in room.sandbox.account.store.of_kind("charge") if c["paid"]]
    won, part, converted = gifts[0], gifts[3], gifts[7]
    room.sandbox.decide_dispute(room.sandbox.dispute(won["id"]), won=True)
    room.sandbox.dispute(part["id"], amount=400)
    dispute = room.sandbox.dispute(converted["id"], amount=400)
    room.sandbox.decide_dispute(dispute, won=True, refund_fee=True)


async def _create_manual_payouts(room: Newsroom) -> None:
    """Put in, taken out at once, taken out slowly, and called back."""
    stripe = room.stripe_owner.v1
    room.sandbox.dashboard_request("POST", "/v1/topups", {"amount": 90_000, "currency": "usd"})
    await stripe.payouts.create_async({"amount": 5000, "currency": "usd", "method": "instant"})
    await stripe.payouts.create_async({"amount": 4000, "currency": "usd"})
    called_back = await stripe.payouts.create_async({"amount": 3000, "currency": "usd"})
    await stripe.payouts.cancel_async(called_back.id)


async def _play_second_half(
    room: Newsroom, sync: Callable[[], Awaitable[None]], months_of_renewals: int
) -> None:
    """Subscriptions renew, at other rates. One failed renewal is recovered and another refunded in
    part; banks are debited, and disputes come a second time or grow from an inquiry.
    """
    sandbox = room.sandbox
    for account in SEPA_ACCOUNTS:
        response = await room.requests_contribution(1100, "once", "eur")
        await pay(response.json()["checkout_url"], iban=account, email="reader@example.org")
    first, *_, renewal = [c for c in sandbox.account.store.of_kind("charge") if c["amount"] == 500]
    await _refund(room, renewal["id"], 200)
    won, inquired_about = (
        next(c for c in sandbox.account.store.of_kind("charge") if c["amount"] == amount)
        for amount in (2500, 1200)
    )
    sandbox.dispute(won["id"])
    sandbox.escalate_dispute(sandbox.dispute(inquired_about["id"], inquiry=True))
    sandbox.set_rate("jpy", "0.0070")
    sandbox.convert_balance(500, "usd", "eur")
    sandbox.fail_card(first["payment_method"])
    for _ in range(7):
        await room.advances_time(timedelta(days=5))
        await sync()
        if any(c["status"] == "failed" for c in sandbox.account.store.of_kind("charge")):
            sandbox.restore_card(first["payment_method"])  # while it is still tried again
    sandbox.set_rate("cad", "0.77")
    for _ in range(months_of_renewals):
        await room.advances_time(timedelta(days=30))
        await sync()


async def _fail_latest_payout(room: Newsroom) -> None:
    """One that had arrived comes back."""
    paid = [p for p in room.sandbox.account.store.of_kind("payout") if p["status"] == "paid"]
    room.sandbox.fail_payout(paid[-1]["id"])


async def _make_balance_negative(room: Newsroom) -> None:
    """Nothing has come in, and Stripe takes what is due to it from the bank."""
    room.sandbox.allow_negative_payouts()
    room.sandbox.charge_fee("billing", 99_000, "eur")
