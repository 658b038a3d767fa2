"""Colleagues write, preview and change campaigns."""

import httpx
import pytest

from payments.core import i18n
from payments.core.campaign_parser import MAX_VARIANTS, TEXT_LIMITS
from payments.staff.accounts import Role
from payments.web.staff.campaigns import CAMPAIGNS_URL, MAX_FORM_BYTES
from tests.support.campaigns import apply_campaigns, open_page
from tests.support.colleague import Colleague, open_colleague_browser
from tests.support.newsroom import Newsroom
from tests.support.page import Page

pytestmark = pytest.mark.anyio


async def sends(one: Colleague, page: Page, **changes: str) -> httpx.Response:
    form = next(form for form in page.forms if form.action.startswith(CAMPAIGNS_URL))
    pressed = {"then": changes.pop("then", "save")}
    return await one.sends(form.action, **form.submission(**changes), **pressed)


async def test_a_colleague_makes_sees_and_changes_a_campaign(newsroom: Newsroom) -> None:
    async with open_colleague_browser(newsroom, "Ada", Role.FINANCE) as ada:
        await ada.opens_link()
        assert "No campaigns yet." in (await ada.opens(CAMPAIGNS_URL)).text
        empty = await ada.opens(f"{CAMPAIGNS_URL}/new")
        written = {
            "id": "winter",
            "message_en": "A hard\r\nwinter.\r\n\r\n*Help* <b>us</b>.",
            "headline_en": "Winter",
            "button_en": "Keep us warm",
            "thanks_en": "Warm **thanks**.",
            "message_ru": "Трудная зима.",
            "amounts_monthly": "usd: 3 *7.50 15\neur: only *10",
            "v1_name": "a",
            "v2_name": "b",
            "v2_message_ru": "Холодная зима.",
            "v2_preselect": "no",
        }
        seen = Page((await sends(ada, empty, **written, then="preview")).text)
        assert seen.problems == []
        for words in (
            "A hard",
            "winter.",
            "Help <b>us</b>.",
            "Winter",
            "Keep us warm",
            "Трудная зима.",
            "Холодная зима.",
            "$7.50",
            "Холодная зима.",
        ):
            assert words in seen.text, words
        assert await newsroom.count("campaigns") == 0
        answer = await sends(ada, seen, then="save")
        assert (answer.status_code, answer.headers["location"]) == (303, f"{CAMPAIGNS_URL}/winter")
        page = await ada.opens(f"{CAMPAIGNS_URL}/winter")
        fields = page.form(f"{CAMPAIGNS_URL}/winter").submission()
        assert fields["amounts_monthly"] == "usd: 3 *7.50 15\neur: only *10"
        assert (fields["v2_message_ru"], fields["v2_preselect"]) == ("Холодная зима.", "no")
        assert fields["message_en"] == "A hard\nwinter.\n\n*Help* <b>us</b>."
        assert fields["thanks_en"] == "Warm **thanks**."
        assert "fewer than 10" in page.text
        assert (await sends(ada, page)).status_code == 303  # nothing was changed
        assert (await sends(ada, page, message_en="Ещё.")).status_code == 303
        late = await sends(ada, page, message_en="Mine is older.")
        assert late.status_code == 409
        again = Page(late.text)
        assert "Nothing was changed" in again.alerts[0]
        assert again.form(f"{CAMPAIGNS_URL}/winter").submission()["message_en"] == "Mine is older."
        assert "winter" in (await ada.opens(CAMPAIGNS_URL)).text
        assert [action[:2] for action in await ada.audit_actions()][-2:] == [
            ("campaign_created", "winter on"), ("campaign_changed", "winter on"),
        ]  # fmt: skip
        # what it says in a language that this newsroom does not offer is there as well
        form = (await ada.opens(f"{CAMPAIGNS_URL}/winter")).form(f"{CAMPAIGNS_URL}/winter")
        assert "message_de" not in form.submission()
        german = {**form.submission(), "message_de": "Ein harter Winter.", "then": "save"}
        assert (await ada.sends(form.action, **german)).status_code == 303
        page = await ada.opens(f"{CAMPAIGNS_URL}/winter")
        fields = page.form(f"{CAMPAIGNS_URL}/winter").submission()
        assert fields["message_de"] == "Ein harter Winter."
    asked = await open_page(newsroom, "/donate?campaign=winter&currency=eur&frequency=monthly")
    assert asked.form("/donate").submission()["frequency"] == "monthly"


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("id", "A b", "lower-case letters"),
        ("id", "", "1 to 64"),
        ("id", "new", "a name we use ourselves"),
        ("message_en", "x" * 3001, "3,000 characters; here 3,001"),
        ("headline_ru", "x" * 121, "1 to 120 characters"),
        ("thanks_en", "[x](ftp://x.example)", "http:// or https://"),
        ("amounts_once", "usd 5 10", "write a line for each currency"),
        ("amounts_once", "usd: 1 5", "100 (1.00 USD) is below the smallest gift, 200 (2.00 USD)"),
        ("amounts_once", "usd: 10 5", "each is more than the one before"),
        ("amounts_once", "usd: *5 *10", "two stars"),
        ("amounts_once", "xyz: 5", "is not one of usd"),
        ("amounts_once", "usd: five", "in digits"),
        ("amounts_once", "usd: 5\nusd: 6", "there twice"),
        ("amounts_once", "usd: only *6", "not one of the amounts suggested"),
        ("starts_on", "yesterday", "2026-03-01"),
        ("currency", "xyz", "is not one of usd"),
        ("evaluate_after_days", "7", "30 or 90"),
        ("v1_name", "a", "2 to 4; here 1"),
        ("v3_message_ru", "Привет", "1 to 16"),
    ],
)
async def test_what_is_refused_is_named_and_nothing_typed_is_lost(
    newsroom: Newsroom, field: str, value: str, says: str
) -> None:
    async with open_colleague_browser(newsroom, "Ada", Role.ADMIN) as ada:
        await ada.opens_link()
        empty = await ada.opens(f"{CAMPAIGNS_URL}/new")
        given = {"id": "winter", "message_ru": "Трудная зима.", field: value}
        answer = await ada.sends(
            CAMPAIGNS_URL, **{**empty.form(CAMPAIGNS_URL).submission(), **given}
        )
    assert answer.status_code == 422
    page = Page(answer.text)
    assert page.problems == []
    assert says.lower() in " ".join(page.alerts).lower(), page.alerts
    assert "Nothing was changed." in page.text
    fields = page.form(CAMPAIGNS_URL).submission()
    if field not in (
        "currency",
        "evaluate_after_days",
    ):  # a choice cannot hold what it does not offer
        assert fields[field] == value
    assert fields["message_ru"] == "Трудная зима."
    assert await newsroom.count("campaigns") == 0


async def test_the_longest_texts_in_every_language_fit_into_the_form() -> None:
    letters = sum(limit for limit, _ in TEXT_LIMITS.values()) * len(i18n.SUPPORTED_LOCALES)
    assert letters * (1 + MAX_VARIANTS) * len("%D0%AF") < 0.9 * MAX_FORM_BYTES


async def test_a_field_of_nobody_is_refused(newsroom: Newsroom) -> None:
    async with open_colleague_browser(newsroom, "Ada", Role.ADMIN) as ada:
        await ada.opens_link()
        answer = await ada.sends(CAMPAIGNS_URL, id="x", staff_id="1")
        assert answer.status_code == 422
        assert "the form has no field" in Page(answer.text).alerts[0]
        assert (await ada.sends(f"{CAMPAIGNS_URL}/no-such", message_en="x")).status_code == 404


async def test_support_opens_no_campaign(newsroom: Newsroom) -> None:
    await apply_campaigns(newsroom)
    async with open_colleague_browser(newsroom, "Sue", Role.SUPPORT) as sue:
        await sue.opens_link()
        for address in (CAMPAIGNS_URL, f"{CAMPAIGNS_URL}/new", f"{CAMPAIGNS_URL}/spring"):
            assert (await sue.web.get(address)).status_code == 403
        for address in (CAMPAIGNS_URL, f"{CAMPAIGNS_URL}/spring"):
            assert (await sue.sends(address, id="x")).status_code == 403
    for address in (CAMPAIGNS_URL, f"{CAMPAIGNS_URL}/spring"):
        assert (await newsroom.web.get(address)).status_code == 401
    assert await newsroom.count("campaigns") == 1
