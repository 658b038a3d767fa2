"""A colleague's way in by an account at the newsroom's own sign-in service, where one is set.

There by a link, never by a form: no other site has to be allowed as the target of our forms. Back
by a redirect of another site, on which a browser sends no cookie that is `strict`: so the attempt
has a cookie of its own, `lax` and short, and what became of it is a page of ours from which the
browser goes on by itself. Whatever did not open the door is in the audit.
"""

from typing import Any

import structlog
from litestar import Controller, Response, get, post
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from payments.core.errors import LinkSpent, NotSignedIn, PaymentsError
from payments.core.settings import Settings
from payments.infra import audit_log
from payments.infra.audit_log import Deed
from payments.infra.context import Runtime
from payments.staff import accounts, oidc, oidc_provider
from payments.staff.accounts import SignedIn, Staff
from payments.staff.oidc import Aim, Attempt
from payments.staff.oidc_provider import Account, Issuer, IssuerAway, SignOnFailed
from payments.web import templates
from payments.web.forms import SMALL, AnyRequest
from payments.web.staff import auth

log = structlog.get_logger("payments.sign_on")
OURS = (None, "same-origin", "none")  # who may send a browser off: our own page, or a bookmark


class SignOn(Controller):
    path = "/staff"
    include_in_schema = False

    @get("/sign-on")
    async def go(
        self, rt: NamedDependency[Runtime], there: NamedDependency[Issuer], request: AnyRequest
    ) -> Response[Any]:
        """Off to the issuer, to sign in."""
        back = auth.safe_back(request.query_params.get("back", ""))
        if request.headers.get("sec-fetch-site") not in OURS:
            return auth.sign_in_page(rt, back)
        return await _off(rt, there, oidc.begin(Aim.SIGN_IN, back=back, now=rt.now()))

    @get("/enter/{token:str}/sign-on")
    async def go_to_tie(
        self,
        rt: NamedDependency[Runtime],
        there: NamedDependency[Issuer],
        request: AnyRequest,
        token: FromPath[str],
    ) -> Response[Any]:
        """The same, to tie an account to whom a link is for. The link is spent on the way back."""
        if request.headers.get("sec-fetch-site") not in OURS:
            return Redirect(f"/staff/enter/{token}", status_code=303)
        try:
            async with rt.sessions() as session:
                await accounts.invited(session, token, now=rt.now())
        except LinkSpent as error:
            return _failed(rt, None, error)
        return await _off(rt, there, oidc.begin(Aim.TIE, bound=token, now=rt.now()))

    @get("/confirm/sign-on")
    async def go_to_confirm(
        self,
        rt: NamedDependency[Runtime],
        there: NamedDependency[Issuer],
        request: AnyRequest,
        asking: NamedDependency[SignedIn],
    ) -> Response[Any]:
        """The same, for a fresh proof of whoever is signed in."""
        back = auth.safe_back(request.query_params.get("back", ""))
        attempt = oidc.begin(Aim.CONFIRM, bound=asking.session, back=back, now=rt.now())
        return await _off(rt, there, attempt)

    @get("/sign-on/back")
    async def come_back(
        self, rt: NamedDependency[Runtime], there: NamedDependency[Issuer], request: AnyRequest
    ) -> Response[Any]:
        """What the issuer sends a browser back with: a code for whoever signed in, or nothing."""
        cookie = request.cookies.get(_cookie_name(rt.settings), "")
        attempt = None
        try:
            attempt = oidc.unpacked(rt.settings, cookie, now=rt.now())
            found = await oidc.account(rt, there, attempt, request.query_params)
            made = await _opened(rt, attempt, found)
        except (SignOnFailed, LinkSpent, NotSignedIn) as error:
            await _note(rt, attempt, error)
            made = _failed(rt, attempt, error)
        made.cookies.append(_cookie(rt.settings, "", lasts=-1))
        return made

    @post("/sign-on/remove", request_max_body_size=SMALL)
    async def remove(
        self, rt: NamedDependency[Runtime], colleague: NamedDependency[Staff]
    ) -> Response[Any]:
        """Let one's own account open the door no more."""
        async with rt.sessions.begin() as session:
            await oidc.untie(session, colleague, now=rt.now())
        return Redirect("/staff", status_code=303)


async def _off(rt: Runtime, there: Issuer, attempt: Attempt) -> Response[Any]:
    try:
        address = await oidc.entrance(rt, there, attempt)
    except IssuerAway as error:
        return _failed(rt, attempt, error)
    cookie = _cookie(rt.settings, oidc.packed(rt.settings, attempt))
    return Redirect(address, status_code=303, cookies=[cookie])


async def _opened(rt: Runtime, attempt: Attempt, found: Account) -> Response[Any]:
    """What an account opens, for what it was asked, in one transaction."""
    settings, now = rt.settings, rt.now()
    async with rt.sessions.begin() as session:
        if attempt.aim is Aim.CONFIRM:
            asking = await oidc.confirm(session, settings, attempt, found, now=now)
            return _on(rt, "Confirmed", attempt.back or auth.HOME[asking.person.role])
        if attempt.aim is Aim.TIE:
            person = await accounts.spend(session, attempt.bound, now=now)
            await oidc.tie(session, settings, person, found, now=now)
            key = await accounts.begin(session, person, how="by a one-time link", now=now)
        else:
            person, key = await oidc.sign_in(session, settings, found, now=now)
    made = _on(rt, "Signed in", attempt.back or auth.HOME[person.role])
    made.cookies.append(auth.cookie(settings, key))
    return made


async def _note(rt: Runtime, attempt: Attempt | None, error: PaymentsError) -> None:
    """Write down what was not let in, under the name of whose session or link it was."""
    why = error.why if isinstance(error, SignOnFailed) else error.code
    log.warning("sign_on_refused", outcome=why)
    confirming = attempt is not None and attempt.aim is Aim.CONFIRM
    deed = Deed.CONFIRM_REFUSED if confirming else Deed.SIGN_IN_REFUSED
    about = f"{oidc_provider.name(rt.settings)}: {why}"
    async with rt.sessions.begin() as session:
        person = await oidc.whose_attempt(session, attempt, now=rt.now())
        if person is None:
            await audit_log.note_stranger(session, deed, about=about, now=rt.now())
        else:
            await accounts.note(session, deed, person, about=about, now=rt.now())


def _on(rt: Runtime, title: str, onward: str) -> Response[str]:
    """A page of ours, from which a browser sends its `strict` cookies again."""
    return templates.page(
        rt,
        "staff_onward.html",
        title=title,
        detail="",
        onward=onward,
        label="Go on",
        by_itself=True,
    )


def _failed(rt: Runtime, attempt: Attempt | None, error: PaymentsError) -> Response[str]:
    """What went wrong, and where to begin again."""
    onward, label = "/staff/sign-in", "To the sign-in page"
    if attempt is not None and attempt.aim is Aim.TIE and not isinstance(error, LinkSpent):
        onward, label = f"/staff/enter/{attempt.bound}", "The link is still good: open it again"
    elif attempt is not None and attempt.aim is Aim.CONFIRM and not isinstance(error, NotSignedIn):
        onward, label = f"/staff/confirm?{auth.query(back=attempt.back)}", "Try another way"
    elif attempt is not None:
        onward = f"/staff/sign-in?{auth.query(back=attempt.back)}"
    return templates.page(
        rt,
        "staff_onward.html",
        status=error.status,
        title=error.title,
        detail=error.detail,
        onward=onward,
        label=label,
        by_itself=False,
    )


def _cookie_name(settings: Settings) -> str:
    return "__Host-sign-on" if settings.secure else "sign-on"


def _cookie(settings: Settings, value: str, *, lasts: int | None = None) -> Cookie:
    """It has to come along on the way back, from another site: `lax`, and for minutes."""
    return Cookie(
        key=_cookie_name(settings),
        value=value,
        path="/",
        httponly=True,
        secure=settings.secure,
        samesite="lax",
        max_age=int(oidc.ATTEMPT_LASTS.total_seconds()) if lasts is None else lasts,
    )
