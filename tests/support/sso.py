"""A colleague's way to the newsroom's own identity provider and back."""

import re

import httpx

from tests.support.colleague import SITE, Colleague
from tests.support.newsroom import Newsroom
from tests.support.page import Page

SSO_URL, STEP_UP_URL = "/staff/sign-on", "/staff/confirm/sign-on"
CALLBACK_URL = "/staff/sign-on/back"


async def leaves_for_provider(one: Colleague, address: str) -> str:
    """Follow a link of ours to the provider. Returns where it sends the browser back to."""
    redirect = await one.web.get(address)
    assert redirect.status_code == 303, redirect.text
    async with httpx.AsyncClient() as elsewhere:
        answer = await elsewhere.get(redirect.headers["location"])
    assert answer.status_code == 302, answer.text
    back: str = answer.headers["location"]
    assert back.startswith(SITE + CALLBACK_URL)
    return back


async def comes_back(one: Colleague, address: str) -> httpx.Response:
    """From another site, so that no `strict` cookie comes along."""
    lax = one.web.cookies.get("sign-on") or ""
    transport = one.web._transport
    async with httpx.AsyncClient(transport=transport, base_url=one.web.base_url) as alone:
        answer = await alone.get(address, headers={"cookie": f"sign-on={lax}"})
    one.web.cookies.extract_cookies(answer)
    page = Page(answer.text)
    assert page.problems == []
    assert "sign-on" not in one.web.cookies
    return answer


async def signs_on(one: Colleague, address: str = SSO_URL) -> httpx.Response:
    return await comes_back(one, await leaves_for_provider(one, address))


async def links_account(one: Colleague) -> httpx.Response:
    """Follow an invitation, and choose the account on its page."""
    link = await one.invitation_link()
    page = await one.opens(link)
    return await signs_on(one, page.links["Sign in with 127.0.0.1"])


def continues_to(answer: httpx.Response) -> str:
    """Where the page goes on to by itself."""
    (url,) = re.findall(r'http-equiv="refresh" content="0; url=([^"]+)"', answer.text)
    return str(url)


async def refusal_outcomes(room: Newsroom) -> list[object]:
    """Why sign-ins were refused, as the audit log has it, oldest first."""
    rows = await room.rows(
        "SELECT object_id FROM audit_entries"
        " WHERE action IN ('sign_in_failed', 'reauthentication_failed') ORDER BY seq"
    )
    return [str(object_id).partition(": ")[2] for (object_id,) in rows]
