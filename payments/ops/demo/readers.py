"""What readers do in the demo: give, change their subscriptions, ask to be reminded.

Each has a browser of their own, and signs in by a link in a mail to change anything.
"""

from payments.core import money
from payments.core.frequency import Frequency
from payments.core.money import Money
from payments.ops.demo.browser import Browser, Page
from payments.ops.demo.simulation import Simulation
from payments.ops.demo.supporters import ARTICLES, CARD_DECLINED, CARD_SUCCEEDS, MONTHLY, Supporter
from payments.sandbox.hosted_page_client import pay


async def donate(sim: Simulation, supporter: Supporter) -> None:
    """Open the supporter's link, submit the form and pay on Stripe's page, or leave it."""
    link = (
        f"/donate?lang={supporter.lang}&campaign={supporter.campaign}&article={supporter.article}"
    )
    async with sim.browser() as browser:
        page = await browser.get(f"{link}&currency={supporter.currency}")
        checkout = await _submit_donation(browser, page, supporter.frequency, supporter.amount)
    if supporter.abandons_checkout:
        return
    if supporter.first_card_declined:
        await pay(checkout, card=CARD_DECLINED, email=supporter.email)
    await pay(checkout, card=supporter.card, email=supporter.email)
    sim.supporters.append(supporter)


async def _submit_donation(browser: Browser, page: Page, frequency: Frequency, amount: int) -> str:
    """Submit the form with an amount in minor units. Returns the URL of Stripe's page."""
    fields = {"frequency": frequency, f"amount_{frequency}": str(amount)}
    response = await browser.submit(page, "/donate", **fields)
    return response.headers["location"]


async def view_campaign(sim: Simulation, campaign: str) -> None:
    """Open a campaign's form and give nothing."""
    async with sim.browser() as browser:
        await browser.get(f"/donate?campaign={campaign}&article={ARTICLES[0]}")


# --- changes of a subscription --------------------------------------------------------------------


async def _change_subscription(
    sim: Simulation, supporter: Supporter, change: str, **fields: str
) -> str:
    """Sign in by a link, open the page of a change and submit it. Returns the redirect's URL."""
    sim.used_supporters.add(supporter.number)
    async with sim.browser() as browser:
        await browser.submit(await browser.get("/manage"), "/manage", address=supporter.email)
        await sim.run_worker()
        link = browser.find_mail_link(supporter.email, "/manage/enter/")
        response = await browser.submit(await browser.get(link), link)
        page = await browser.get(response.headers["location"])
        action = f"{page.first_link('/manage/contributions/')}/{change}"
        response = await browser.submit(await browser.get(action), action, **fields)
        assert response.status_code == 303, (change, response.text)
    return response.headers["location"]


async def increase_amount(sim: Simulation) -> None:
    """A monthly supporter doubles the amount."""
    supporter = sim.pick_supporter(MONTHLY)
    doubled = money.to_decimal_string(Money(supporter.amount * 2, supporter.currency))
    await _change_subscription(sim, supporter, "amount", amount=doubled)


async def decrease_amount(sim: Simulation) -> None:
    """A monthly supporter of at least 10.00 halves the amount."""
    supporter = sim.pick_supporter(MONTHLY, min_amount=999)
    halved = money.to_decimal_string(Money(supporter.amount // 2, supporter.currency))
    await _change_subscription(sim, supporter, "amount", amount=halved)


async def pause(sim: Simulation) -> None:
    """A monthly supporter pauses for two months."""
    await _change_subscription(sim, sim.pick_supporter(MONTHLY), "pause", months="2")


async def skip(sim: Simulation) -> None:
    """A monthly supporter skips the next charge."""
    await _change_subscription(sim, sim.pick_supporter(MONTHLY), "skip")


async def switch_to_annual(sim: Simulation) -> None:
    """A monthly supporter switches to annual."""
    await _change_subscription(sim, sim.pick_supporter(MONTHLY), "frequency")


async def replace_card(sim: Simulation) -> None:
    """A monthly supporter replaces the card on Stripe's page."""
    page = await _change_subscription(sim, sim.pick_supporter(MONTHLY), "card")
    await pay(page, card="5555555555554444")


async def cancel(sim: Simulation) -> None:
    """A monthly supporter of forty days or more cancels."""
    await _change_subscription(sim, sim.pick_supporter(MONTHLY, min_days=40), "stop")


async def fix_failed_renewal(sim: Simulation, supporter: Supporter) -> None:
    """Sign in, as the mail about a failed renewal asks to, and pay with another card."""
    page = await _change_subscription(sim, supporter, "card")
    await pay(page, card=CARD_SUCCEEDS, email=supporter.email)


# --- reminders ------------------------------------------------------------------------------------


def _reminder_email(number: int) -> str:
    return f"later{number}@example.org"


async def request_reminder(sim: Simulation, number: int, **fields: str) -> None:
    """Ask for a reminder in a week, of a one-time contribution of 10.00 EUR."""
    async with sim.browser() as browser:
        page = await browser.get("/remind?frequency=once&amount=1000&currency=eur")
        form = {"when": "week", "address": _reminder_email(number), **fields}
        await browser.submit(page, "/remind", **form)


async def confirm_reminder(sim: Simulation, number: int) -> None:
    """Confirm the address by the link in the mail."""
    async with sim.browser() as browser:
        link = browser.find_mail_link(_reminder_email(number), "/remind/confirm/")
        await browser.submit(await browser.get(link), link)


async def donate_from_reminder(sim: Simulation, number: int) -> None:
    """Give 10.00 by the link in the reminder."""
    async with sim.browser() as browser:
        page = await browser.get(browser.find_mail_link(_reminder_email(number), "/back/"))
        checkout = await _submit_donation(browser, page, Frequency.ONCE, 1000)
    await pay(checkout, email=_reminder_email(number))
