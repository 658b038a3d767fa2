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
    NavigationItem("/finance", "Overview", BOOKS_READERS),
    NavigationItem("/finance/months", "Months", BOOKS_READERS),
    NavigationItem("/finance/report", "Report", BOOKS_READERS),
    NavigationItem("/finance/transactions", "Transactions", BOOKS_READERS),
    NavigationItem("/finance/recurring", "Recurring", BOOKS_READERS),
    NavigationItem("/finance/deferred", "Deferred income", BOOKS_READERS),
    NavigationItem("/finance/payouts", "Payouts", BOOKS_READERS),
    NavigationItem("/finance/refunds", "Refunds and disputes", BOOKS_READERS),
    NavigationItem("/finance/approvals", "Approvals", BOOKS_READERS),
    NavigationItem("/finance/sources", "Sources", BOOKS_READERS),
    NavigationItem("/staff/campaigns", "Campaigns", FINANCE_ROLES),
    NavigationItem("/finance/reminders", "Reminders", BOOKS_READERS),
    NavigationItem("/finance/periods", "Periods", BOOKS_READERS),
    NavigationItem("/finance/exports", "Exports", BOOKS_READERS),
    NavigationItem("/finance/accounts", "Accounts", BOOKS_READERS),
    NavigationItem("/finance/audit", "Audit", BOOKS_READERS),
    NavigationItem("/support", "Donors", SUPPORT_ROLES),
    NavigationItem("/staff/alerts", "Alerts", BOOKS_READERS),
    NavigationItem("/finance/events", "Events", BOOKS_READERS),
    NavigationItem("/staff/tokens", "Tokens", TOKEN_ROLES),
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
    return rendering.render(
        ctx,
        template,
        status=status,
        person=colleague.name,
        navigation=navigation(colleague, active_url),
        may_change=may_change(colleague),
        **context,
    )


def may_change(colleague: Staff) -> bool:
    """Whether a colleague may send a form of the books: an auditor reads them."""
    return colleague.role not in AUDITOR_ROLES


def navigation(colleague: Staff, active_url: str) -> list[dict[str, object]]:
    """Return links to the pages that a colleague's role opens: the same on each of them."""
    return [
        {"url": item.url, "label": item.label, "active": item.url == active_url}
        for item in NAVIGATION
        if colleague.role in item.roles
    ]


def allow_script(ctx: Context, response: Response[str]) -> Response[str]:
    """Let a page run our script that asks the browser for a passkey."""
    response.headers["content-security-policy"] = security_headers.policy_with_script(ctx.settings)
    return response
