"""A colleague at the staff's pages in a real browser."""

from playwright.async_api import Page

from payments.staff import accounts
from payments.staff.accounts import Role
from tests.support.browser import Site


async def invitation_link(site: Site, name: str = "Ada", role: Role = Role.ADMIN) -> str:
    """Invite a colleague; the link by which they sign in for the first time."""
    async with site.room.ctx.sessions.begin() as session:
        token = await accounts.invite(session, name, role=role, now=site.room.clock())
    return f"{site.url}/staff/enter/{token}"


async def clicks(page: Page, name: str) -> None:
    """Click the first button of a name, and wait for the page to which it leads."""
    async with page.expect_navigation():
        await page.get_by_role("button", name=name).first.click()
