"""What readers do in the demo: give, change their minds, ask to be reminded.

Each at a browser of their own. What they change they change behind a link from a mail.
"""

from payments.core import money
from payments.core.frequency import Frequency
from payments.core.money import Money
from payments.ops.demo.browser import Browser, Page
from payments.ops.demo.simulation import Simulation
from payments.ops.demo.supporters import ARTICLES, CARD_DECLINED, CARD_SUCCEEDS, MONTHLY, Supporter
from payments.sandbox.hosted_page_client import pay


async def donate(sim: Simulation, supporter: Supporter) -> None:
    """Fill in the form of a link and pay, or think better of it on Stripe's page."""
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
    """Choose in the form to give; gives the address of Stripe's page."""
    chosen = {"frequency": frequency, f"amount_{frequency}": str(amount)}
    answer = await browser.submit(page, "/donate", **chosen)
    return answer.headers["location"]


async def view_campaign(sim: Simulation, campaign: str) -> None:
    """Open a campaign's form, and give nothing."""
    async with sim.browser() as browser:
        await browser.get(f"/donate?campaign={campaign}&article={ARTICLES[0]}")


# --- a promise is changed -------------------------------------------------------------------------


async def _change_subscription(
    sim: Simulation, supporter: Supporter, change: str, **fields: str
) -> str:
    """Sign in by a link, open the page of a change and press its button. Gives where it led."""
    sim.used_supporters.add(supporter.number)
    async with sim.browser() as browser:
        await browser.submit(await browser.get("/manage"), "/manage", address=supporter.email)
        await sim.run_worker()
        link = browser.find_mail_link(supporter.email, "/manage/enter/")
        answer = await browser.submit(await browser.get(link), link)
        page = await browser.get(answer.headers["location"])
        action = f"{page.first_link('/manage/contributions/')}/{change}"
        answer = await browser.submit(await browser.get(action), action, **fields)
        assert answer.status_code == 303, (change, answer.text)
    return answer.headers["location"]


async def increase_amount(sim: Simulation) -> None:
    person = sim.pick_supporter(MONTHLY)
    doubled = money.to_decimal_string(Money(person.amount * 2, person.currency))
    await _change_subscription(sim, person, "amount", amount=doubled)


async def decrease_amount(sim: Simulation) -> None:
    person = sim.pick_supporter(MONTHLY, min_amount=999)
    halved = money.to_decimal_string(Money(person.amount // 2, person.currency))
    await _change_subscription(sim, person, "amount", amount=halved)


async def pause(sim: Simulation) -> None:
    await _change_subscription(sim, sim.pick_supporter(MONTHLY), "pause", months="2")


async def skip(sim: Simulation) -> None:
    await _change_subscription(sim, sim.pick_supporter(MONTHLY), "skip")


async def switch_to_annual(sim: Simulation) -> None:
    await _change_subscription(sim, sim.pick_supporter(MONTHLY), "frequency")


async def replace_card(sim: Simulation) -> None:
    page = await _change_subscription(sim, sim.pick_supporter(MONTHLY), "card")
    await pay(page, card="5555555555554444")


async def cancel(sim: Simulation) -> None:
    await _change_subscription(sim, sim.pick_supporter(MONTHLY, min_days=40), "stop")


async def fix_failed_renewal(sim: Simulation, supporter: Supporter) -> None:
    """A renewal failed; the link of the mail about it leads to another card."""
    await sim.run_worker()
    async with sim.browser() as browser:
        link = browser.find_mail_link(supporter.email, "/fix/")
        answer = await browser.submit(await browser.get(link), link)
    await pay(answer.headers["location"], card=CARD_SUCCEEDS, email=supporter.email)


# --- a reminder -----------------------------------------------------------------------------------


def _reminder_email(number: int) -> str:
    return f"later{number}@example.org"


async def request_reminder(sim: Simulation, number: int, **fields: str) -> None:
    """Not ready today: ask to be written to."""
    async with sim.browser() as browser:
        page = await browser.get("/remind?frequency=once&amount=1000&currency=eur")
        wanted = {"when": "week", "address": _reminder_email(number), **fields}
        await browser.submit(page, "/remind", **wanted)


async def confirm_reminder(sim: Simulation, number: int) -> None:
    async with sim.browser() as browser:
        link = browser.find_mail_link(_reminder_email(number), "/remind/confirm/")
        await browser.submit(await browser.get(link), link)


async def donate_from_reminder(sim: Simulation, number: int) -> None:
    """The mail leads back to the form as it was left."""
    async with sim.browser() as browser:
        page = await browser.get(browser.find_mail_link(_reminder_email(number), "/back/"))
        checkout = await _submit_donation(browser, page, Frequency.ONCE, 1000)
    await pay(checkout, email=_reminder_email(number))
