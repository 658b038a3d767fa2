"""Who may open which page of the staff: one table of roles, and the one dependency that reads it.

A page for staff takes the `colleague`, and with it come the role its address asks for, a proof that
is fresh enough for what moves money or takes data away, the check that a form was sent from a page
of ours, and the audit's line of whoever was turned away. An address under none of these rules is
opened by nobody.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from litestar import Response
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.response import Redirect

from payments.core.errors import NotSignedIn
from payments.core.settings import Settings
from payments.infra.audit_log import Deed
from payments.infra.context import Runtime
from payments.staff import accounts, oidc, oidc_provider, passkeys
from payments.staff.accounts import ConfirmFirst, NotAllowed, Role, SignedIn, Staff
from payments.staff.passkeys import Purpose
from payments.web import security_headers, templates
from payments.web.account.sign_in import ForeignForm
from payments.web.forms import AnyRequest

BACK = re.compile(r"/(?:finance|support|staff)(?:[/?][\w./?=&%+:,~-]*)?", re.ASCII)
READING = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True, slots=True)
class Rule:
    """Which roles open the addresses that begin so. `proved`: with a proof of the last minutes."""

    begins: str
    roles: frozenset[Role]
    proved: bool = False
    deed: Deed | None = None  # written down for each time it is opened
    page: str = ""  # where its form is, if not at its own address


EVERYBODY = frozenset(Role)
BOOKS = frozenset({Role.FINANCE, Role.ADMIN})
DONORS = frozenset({Role.SUPPORT, Role.ADMIN})
ADMINS = frozenset({Role.ADMIN})
# What of the books is taken away, by the end of its address.
FILES = (".csv", ".xlsx", ".zip", "/journal", "/pack")
EXPORT = Rule("/finance", BOOKS, proved=True, deed=Deed.EXPORTED)
# The first that fits decides.
RULES = (
    Rule("/finance/refund", BOOKS, proved=True),
    Rule("/finance/periods/{month}/close", BOOKS, proved=True, page="/finance/periods"),
    Rule("/finance/periods/{month}/reopen", BOOKS, proved=True, page="/finance/periods"),
    Rule("/finance", BOOKS),
    Rule("/support/{case_id}/erase", DONORS, proved=True),
    Rule("/support", DONORS),
    Rule("/staff/colleagues", ADMINS, proved=True, page="/staff/colleagues"),
    Rule("/staff/passkeys", EVERYBODY, proved=True, page="/staff"),
    Rule("/staff/sign-on", EVERYBODY, proved=True, page="/staff"),
    Rule("/staff/alarms", BOOKS),
    Rule("/staff/campaigns", BOOKS),
    Rule("/staff", EVERYBODY),
)
HOME = {Role.FINANCE: "/finance", Role.SUPPORT: "/support", Role.ADMIN: "/finance"}
PLACES = (  # of the pages that are not of the books alone
    ("/finance", "Books"),
    ("/support", "Donors"),
    ("/staff/campaigns", "Campaigns"),
    ("/staff/alarms", "Alarms"),
    ("/finance/audit", "Audit"),
    ("/staff/colleagues", "Colleagues"),
    ("/staff", "You"),
)


def rule_of(template: str) -> Rule | None:
    """The rule for a route, by its address as the application has it."""
    template = re.sub(r":[a-z]+}", "}", template)
    if template.startswith("/finance/") and template.endswith(FILES):
        return EXPORT
    for rule in RULES:
        if template == rule.begins or template.startswith(f"{rule.begins}/"):
            return rule
    return None


async def asking(rt: NamedDependency[Runtime], request: AnyRequest) -> SignedIn:
    """The colleague who asks, if their role opens this address, by a fresh proof where it must be.

    Raises NotSignedIn, NotAllowed, ConfirmFirst, ForeignForm.
    """
    from_our_own_page(rt, request)
    token = request.cookies.get(cookie_name(rt.settings))
    async with rt.sessions.begin() as session:
        found = await accounts.who(session, token, now=rt.now())
    template = request.scope["path_template"]
    rule = rule_of(template)
    if rule is None or found.person.role not in rule.roles:
        await _note(rt, found.person, Deed.TURNED_AWAY, f"{request.method} {template}")
        raise NotAllowed(f"The role {found.person.role} does not open this page.")
    if rule.proved and not found.is_proved(rt.now()):
        raise ConfirmFirst("Nothing was done. Confirm that it is you, and try again.")
    if rule.deed is not None:
        await _note(rt, found.person, rule.deed, address(request))
    return found


async def signed_in(asking: NamedDependency[SignedIn]) -> Staff:
    """The colleague who asks. A dependency of every page for staff."""
    return asking.person


async def _note(rt: Runtime, person: Staff, deed: Deed, about: str) -> None:
    async with rt.sessions.begin() as session:
        await accounts.note(session, deed, person, about=about, now=rt.now())


def from_our_own_page(rt: Runtime, request: AnyRequest) -> None:
    """Refuse a form that another site made a browser send; the cookie is `strict` besides.

    Our own pages say no-referrer, so a browser gives their origin as "null": Sec-Fetch-Site decides
    where there is one. What says neither is no browser, and is made to send nothing by anybody.
    """
    if request.method in READING:
        return
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    ours = site == "same-origin" if site is not None else origin in (None, rt.settings.base_url)
    if not ours:
        raise ForeignForm("Nothing was done. Please open the page again and use its button.")


# --- cookies --------------------------------------------------------------------------------------


def cookie_name(settings: Settings) -> str:
    """`__Host-` needs https, which the demo on this machine has not."""
    return "__Host-staff" if settings.secure else "staff"


def cookie(settings: Settings, value: str, *, lasts: timedelta = accounts.SESSION_LASTS) -> Cookie:
    return Cookie(
        key=cookie_name(settings),
        value=value,
        path="/",
        httponly=True,
        secure=settings.secure,
        samesite="strict",
        max_age=int(lasts.total_seconds()),
    )


# --- pages ----------------------------------------------------------------------------------------


def page(
    rt: Runtime, template: str, person: Staff, *, here: str, status: int = 200, **context: object
) -> Response[str]:
    """A page for a colleague, with the ways to all the others that their role opens."""
    nav = [
        {"url": url, "label": label, "here": url == here}
        for url, label in PLACES
        if (rule := rule_of(url)) is not None and person.role in rule.roles
    ]
    return templates.page(rt, template, status=status, person=person.name, nav=nav, **context)


def with_script(rt: Runtime, made: Response[str]) -> Response[str]:
    """A page that asks the browser for a passkey."""
    made.headers["content-security-policy"] = security_headers.with_script(rt.settings)
    return made


def sign_in_page(rt: Runtime, back: str, *, status: int = 200, error: str = "") -> Response[str]:
    """The way in. `back` is where to go from there."""
    options = ""
    if passkeys.are_possible(rt.settings):
        options = passkeys.ask(rt.settings, Purpose.SIGN_IN, now=rt.now())
    return with_script(
        rt,
        templates.page(
            rt,
            "staff_sign_in.html",
            status=status,
            options=options,
            issuer=oidc_provider.name(rt.settings),
            query=query(back=back),
            back=back,
            error=error,
        ),
    )


async def confirm_page(
    rt: Runtime, asking: SignedIn, back: str, *, status: int = 200, error: str = ""
) -> Response[str]:
    """Where a colleague proves once more who they are."""
    async with rt.sessions() as session:
        known = await passkeys.of(session, asking.person.id)
        account = await oidc.of(session, asking.person.id)
    options = ""
    if known and passkeys.are_possible(rt.settings):
        options = passkeys.ask(
            rt.settings, Purpose.CONFIRM, bound=asking.session, known=known, now=rt.now()
        )
    made = page(
        rt,
        "staff_confirm.html",
        asking.person,
        here="",
        status=status,
        options=options,
        issuer=oidc_provider.name(rt.settings) if account is not None else "",
        query=query(back=back),
        back=back,
        error=error,
    )
    return with_script(rt, made)


# --- refused --------------------------------------------------------------------------------------


def sign_in_first(request: AnyRequest, _error: NotSignedIn) -> Response[str]:
    """A page for staff, asked for by nobody we know: the way in, and back to the page."""
    rt: Runtime = request.app.state.rt
    return sign_in_page(rt, back_from(request), status=401)


def confirm_first(request: AnyRequest, _error: ConfirmFirst) -> Response[Any]:
    """Off to the page that asks for a passkey, and back."""
    return Redirect(f"/staff/confirm?{query(back=back_from(request))}", status_code=303)


def back_from(request: AnyRequest) -> str:
    """Where to go on after this was asked for: the page itself, or the one its form is on."""
    if request.method in READING:
        return safe_back(address(request))
    rule = rule_of(request.scope["path_template"])
    return safe_back((rule.page if rule else "") or request.scope["path"])


def safe_back(asked: str) -> str:
    """An address of ours for staff, or nothing: nobody is led elsewhere."""
    return asked if BACK.fullmatch(asked) and len(asked) <= 1000 else ""


def address(request: AnyRequest) -> str:
    said = request.scope["query_string"].decode("latin-1")
    return request.scope["path"] + (f"?{said}" if said else "")


def query(**said: str) -> str:
    return urlencode({name: value for name, value in said.items() if value})


def options(choices: Sequence[tuple[str, str]], chosen: str) -> list[dict[str, object]]:
    """The options of a choice, ready to print."""
    return [{"value": v, "label": label, "selected": v == chosen} for v, label in choices]
