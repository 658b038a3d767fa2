"""The page of thanks has one address for everybody: what a browser's history keeps names no gift.
Which one it is stands in a cookie for an hour.
"""

from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from tests.support.donor import well_formed_page
from tests.support.newsroom import BASE_URL, Newsroom
from tests.support.page import Page
from tests.support.past import has_given
from tests.support.safety_policy import protected

pytestmark = pytest.mark.anyio
UNNAMED = "Thank you, if you have paid"


def browser(room: Newsroom) -> httpx.AsyncClient:
    """Open a browser without cookies of ours."""
    return httpx.AsyncClient(transport=room.web._transport, base_url=room.settings.base_url)


async def begins(web: httpx.AsyncClient, amount: str = "500", **fields: str) -> httpx.Response:
    """Fill in the form and press its button: the browser is led to Stripe's page."""
    form = Page((await web.get("/donate")).text).form("/donate")
    fields |= {"frequency": "once", "amount_once": "other", "other_once": amount}
    answer = await web.post("/donate", data=form.submission(**fields))
    assert answer.status_code == 303, answer.text
    return answer


async def thanked(web: httpx.AsyncClient, address: str = "/thanks") -> Page:
    answer = await web.get(address)
    assert answer.status_code == 200
    return well_formed_page(answer)


async def test_no_address_of_the_way_back_names_the_gift(newsroom: Newsroom) -> None:
    async with browser(newsroom) as web, browser(newsroom) as other:
        begun = await begins(web, "12.34")
        back = await newsroom.pays(begun.headers["location"])
        assert back == f"{BASE_URL}/thanks?lang=en"
        ((gift,),) = await newsroom.rows("SELECT id FROM contributions")
        waiting = await web.get(back)
        assert waiting.headers["refresh"] == "2; url=/thanks?poll=1&lang=en"
        assert str(gift) not in waiting.headers["refresh"]
        await newsroom.runs_until_idle()
        for _tab in range(2):
            page = await thanked(web)
            assert "Your gift to The Example is confirmed. Gift $12.34" in page.text
        cookie = begun.headers["set-cookie"].lower()
        for word in ("httponly", "samesite=lax", "path=/", "max-age=3600"):
            assert word in cookie
        elsewhere = await thanked(other)  # another browser, or one without cookies
        assert UNNAMED in elsewhere.text
        assert "$12.34" not in elsewhere.text
        assert UNNAMED not in page.text


async def test_a_link_of_before_leads_to_the_address_without_the_id(newsroom: Newsroom) -> None:
    gift = await has_given(newsroom, 700)
    async with browser(newsroom) as web:
        answer = await web.get(f"/thanks/{gift.id}?lang=ru")
        assert (answer.status_code, answer.headers["location"]) == (303, "/thanks?lang=ru")
        assert "7,00" in (await thanked(web, answer.headers["location"])).text
        newsroom.clock.advance(timedelta(hours=25))
        late = await web.get(f"/thanks/{gift.id}")
        assert (late.status_code, "set-cookie" in late.headers) == (404, False)
        assert UNNAMED in (await thanked(web)).text
        web.cookies.set("gift", "x.." + "0" * 32 + ".-", domain="127.0.0.1")
        assert UNNAMED in (await thanked(web)).text


async def test_of_several_gifts_the_page_speaks_of_the_one_that_was_paid(
    newsroom: Newsroom,
) -> None:
    async with browser(newsroom) as web:
        paid = await begins(web, "11")
        await begins(web, "22")  # in another tab, and left there
        await newsroom.pays(paid.headers["location"])
        await newsroom.runs_until_idle()
        page = await thanked(web)
        assert "confirmed. Gift $11.00" in page.text
        assert "Other gifts started in this browser $22.00 once" in page.text
        assert "clear-site-data" not in (await web.get("/thanks")).headers  # no policy is in force
        next_one = await begins(web, "33")
        await newsroom.pays(next_one.headers["location"])
        page = await thanked(web)  # what was shown is not shown for this one
        assert "Confirming your gift" in page.text
        assert "Gift $33.00" in page.text
        assert "$11.00" not in page.text


async def test_where_donors_are_protected_the_cache_forgets_the_visit(
    database: str, tmp_path: Path
) -> None:
    async with protected(database, tmp_path) as room:
        asked = (await room.requests_contribution(700, declaration=True)).json()
        address = f"/thanks/{asked['id']}"
        waiting = await room.web.get(address, follow_redirects=True)
        assert "clear-site-data" not in waiting.headers  # the page is loaded again in a moment
        await room.pays(asked["checkout_url"])
        await room.runs_until_idle()
        answer = await room.web.get("/thanks")
        assert "confirmed" in answer.text
        assert answer.headers["clear-site-data"] == '"cache"'
