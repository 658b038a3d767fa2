"""The frame of the staff pages: navigation by role, and the policy of pages that run a script."""

from dataclasses import dataclass

from litestar import Response

from payments.infra.context import Context
from payments.staff.accounts import Role, Staff
from payments.staff.api_tokens import TOKEN_ROLES
from payments.web import rendering, security_headers
from payments.web.staff.guards import (
    ADMIN_ROLES,
    ALL_ROLES,
    AUDITOR_ROLES,
    BOOKS_READERS,
    FINANCE_ROLES,
    SUPPORT_ROLES,
)

HOME_URLS = {
    Role.FINANCE: "/finance",
    Role.SUPPORT: "/support",
    Role.ADMIN: "/finance",
    Role.AUDITOR: "/finance",
}


@dataclass(frozen=True, slots=True)
class NavigationItem:
    """A page in the navigation, and the roles that open it: those of the page's own guard."""

    url: str
    label: str
    roles: frozenset[Role]


NAVIGATION = (
    NavigationItem("/finance", "Books", BOOKS_READERS),
    NavigationItem("/support", "Donors", SUPPORT_ROLES),
    NavigationItem("/staff/campaigns", "Campaigns", FINANCE_ROLES),
    NavigationItem("/staff/alerts", "Alerts", BOOKS_READERS),
    NavigationItem("/finance/audit", "Audit", BOOKS_READERS),
    NavigationItem("/staff/tokens", "Tokens", TOKEN_ROLES),
    NavigationItem("/finance/events", "Events", BOOKS_READERS),
    NavigationItem("/staff/colleagues", "Colleagues", ADMIN_ROLES),
    NavigationItem("/staff", "You", ALL_ROLES),
)


def render(
    ctx: Context,
    template: str,
    colleague: Staff,
    *,
    active_url: str,
    status: int = 200,
    **context: object,
) -> Response[str]:
    """Return a page for a colleague, with links to the pages that their role opens.

    A template shows no form that changes the books unless `may_change`.
    """
    nav = [
        {"url": item.url, "label": item.label, "active": item.url == active_url}
        for item in NAVIGATION
        if colleague.role in item.roles
    ]
    return rendering.render(
        ctx,
        template,
        status=status,
        person=colleague.name,
        nav=nav,
        may_change=may_change(colleague),
        **context,
    )


def may_change(colleague: Staff) -> bool:
    """Whether a colleague may send a form of the books: an auditor reads them."""
    return colleague.role not in AUDITOR_ROLES


def may_open(colleague: Staff, url: str) -> bool:
    """Whether a colleague's role opens a page of the navigation; True for one that is not in it."""
    return all(colleague.role in item.roles for item in NAVIGATION if item.url == url)


def allow_script(ctx: Context, response: Response[str]) -> Response[str]:
    """Let a page run our script that asks the browser for a passkey."""
    response.headers["content-security-policy"] = security_headers.policy_with_script(ctx.settings)
    return response
