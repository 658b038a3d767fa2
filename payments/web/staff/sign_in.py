"""A colleague's way in and out: a passkey, or a one-time link whose button spends it.

A link from an invitation makes a passkey in the same stroke. Without JavaScript, or where no
passkey is at hand, a link from the command line does everything a passkey does, for ten minutes and
once. Who is not let in is in the audit as well.
"""

from typing import Any

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from payments.core.errors import LinkInvalid, Unauthenticated
from payments.infra import alerts, audit_log
from payments.infra.alerts import AlertKind
from payments.infra.audit_log import AuditAction
from payments.infra.context import Context
from payments.staff import accounts, oidc_provider, passkeys
from payments.staff.accounts import AuthenticatedStaff, Staff
from payments.staff.passkeys import ChallengePurpose, PasskeyCloned, PasskeyRefused
from payments.web import rendering
from payments.web.forms import SMALL_FORM_BYTES, AnyRequest, form_data
from payments.web.staff import auth

PASSKEY_FORM_BYTES = 16 * 1024  # bytes of a form with a browser's answer in it


class StaffSignInPages(Controller):
    path = "/staff"
    include_in_schema = False

    @get("/sign-in")
    async def sign_in_form(
        self, ctx: NamedDependency[Context], request: AnyRequest
    ) -> Response[Any]:
        """The passkey's button; whoever is in already goes on."""
        back = auth.safe_return_url(request.query_params.get("back", ""))
        token = request.cookies.get(auth.session_cookie_name(ctx.settings))
        try:
            async with ctx.sessions.begin() as session:
                found = await accounts.current(session, token, now=ctx.now())
        except Unauthenticated:
            return auth.render_sign_in(ctx, back)
        return Redirect(back or auth.HOME_URL_OF_ROLE[found.colleague.role], status_code=303)

    @post("/sign-in", request_max_body_size=PASSKEY_FORM_BYTES)
    async def sign_in(self, ctx: NamedDependency[Context], request: AnyRequest) -> Response[Any]:
        """Begin a session by a passkey."""
        auth.require_same_origin(ctx, request)
        sent = await form_data(request)
        back = auth.safe_return_url(sent.get("back", ""))
        try:
            async with ctx.sessions.begin() as session:
                person = await passkeys.authenticate(
                    session,
                    ctx.settings,
                    ChallengePurpose.SIGN_IN,
                    sent.get("answer", ""),
                    now=ctx.now(),
                )
                key = await accounts.start_session(
                    session, person, method="by a passkey", now=ctx.now()
                )
        except PasskeyRefused as error:
            await _record_refusal(ctx, error, AuditAction.SIGN_IN_FAILED)
            return auth.render_sign_in(ctx, back, status=error.status, error=error.detail)
        return _start_session(ctx, person, key, back)

    @get("/enter/{token:str}")
    async def link_page(self, ctx: NamedDependency[Context], token: FromPath[str]) -> Response[str]:
        """Whom the link is for, and the buttons that spend it."""
        try:
            async with ctx.sessions() as session:
                person = await accounts.get_by_link(session, token, now=ctx.now())
                known = await passkeys.list_for(session, person.id)
        except LinkInvalid as error:
            return _render_link_invalid(ctx, error)
        options = ""
        if passkeys.is_supported(ctx.settings):
            options = passkeys.registration_options(
                ctx.settings, person, known, bound_to=f"link {token}", now=ctx.now()
            )
        made = rendering.render(
            ctx,
            "staff_redeem_link.html",
            token=token,
            name=person.name,
            options=options,
            issuer=oidc_provider.provider_name(ctx.settings),
        )
        return auth.allow_script(ctx, made)

    @post("/enter/{token:str}", request_max_body_size=PASSKEY_FORM_BYTES)
    async def redeem_link(
        self, ctx: NamedDependency[Context], request: AnyRequest, token: FromPath[str]
    ) -> Response[Any]:
        """Spend the link and begin a session; keep the passkey that was made, if one was."""
        auth.require_same_origin(ctx, request)
        answer = (await form_data(request)).get("answer", "")
        try:
            person, key = await _redeem_link(ctx, token, answer)
        except LinkInvalid as error:
            async with ctx.sessions.begin() as session:
                await audit_log.record_anonymous(
                    session, AuditAction.SIGN_IN_FAILED, object_id="a link", now=ctx.now()
                )
            return _render_link_invalid(ctx, error)
        except PasskeyRefused as error:
            await _record_refusal(ctx, error, AuditAction.SIGN_IN_FAILED)
            again = f"{error.detail} The link is still good: open it again."
            return rendering.render(
                ctx, "staff_message.html", status=error.status, title=error.title, detail=again
            )
        return _start_session(ctx, person, key, "")

    @get("/confirm")
    async def step_up_form(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        staff_session: NamedDependency[AuthenticatedStaff],
    ) -> Response[Any]:
        """A fresh proof, asked for; whoever gave one a moment ago goes on."""
        back = auth.safe_return_url(request.query_params.get("back", ""))
        if staff_session.is_recently_authenticated(ctx.now()):
            return Redirect(
                back or auth.HOME_URL_OF_ROLE[staff_session.colleague.role], status_code=303
            )
        return await auth.render_step_up(ctx, staff_session, back)

    @post("/confirm", request_max_body_size=PASSKEY_FORM_BYTES)
    async def step_up(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        staff_session: NamedDependency[AuthenticatedStaff],
    ) -> Response[Any]:
        """Take the proof, if it is of whoever is signed in."""
        sent = await form_data(request)
        back = auth.safe_return_url(sent.get("back", ""))
        try:
            await _verify_step_up(ctx, staff_session, sent.get("answer", ""))
        except PasskeyRefused as error:
            await _record_refusal(ctx, error, AuditAction.REAUTHENTICATION_FAILED)
            return await auth.render_step_up(
                ctx, staff_session, back, status=error.status, error=error.detail
            )
        return Redirect(
            back or auth.HOME_URL_OF_ROLE[staff_session.colleague.role], status_code=303
        )

    @post("/leave", request_max_body_size=SMALL_FORM_BYTES)
    async def sign_out(self, ctx: NamedDependency[Context], request: AnyRequest) -> Response[Any]:
        """Sign out. Whoever is out already stays out."""
        auth.require_same_origin(ctx, request)
        token = request.cookies.get(auth.session_cookie_name(ctx.settings), "")
        async with ctx.sessions.begin() as session:
            await accounts.sign_out(session, token, now=ctx.now())
        gone = auth.session_cookie(ctx.settings, "", max_age=-accounts.SESSION_LIFETIME)
        return Redirect("/staff/sign-in", status_code=303, cookies=[gone])


async def _redeem_link(ctx: Context, token: str, credential: str) -> tuple[Staff, str]:
    async with ctx.sessions.begin() as session:
        person = await accounts.redeem_link(session, token, now=ctx.now())
        if credential:
            await passkeys.register(
                session, ctx.settings, person, credential, bound_to=f"link {token}", now=ctx.now()
            )
        how = "by a one-time link"
        return person, await accounts.start_session(session, person, method=how, now=ctx.now())


async def _verify_step_up(ctx: Context, staff_session: AuthenticatedStaff, credential: str) -> None:
    async with ctx.sessions.begin() as session:
        person = await passkeys.authenticate(
            session,
            ctx.settings,
            ChallengePurpose.STEP_UP,
            credential,
            bound_to=staff_session.session_id,
            now=ctx.now(),
        )
        if person.id != staff_session.colleague.id:
            raise PasskeyRefused("This is a colleague's passkey.", staff_id=person.id)
        await accounts.record_step_up(session, staff_session, now=ctx.now())


async def _record_refusal(ctx: Context, error: PasskeyRefused, action: AuditAction) -> None:
    """Write down what was not let in; for a passkey that may be copied, call a person."""
    async with ctx.sessions.begin() as session:
        if error.staff_id is None:
            await audit_log.record_anonymous(session, action, object_id="a passkey", now=ctx.now())
            return
        person = await session.get_one(Staff, error.staff_id)
        await accounts.record_action(
            session, action, person, reason=error.detail[:200], now=ctx.now()
        )
        if isinstance(error, PasskeyCloned):
            await alerts.raise_alert(
                session, AlertKind.PASSKEY_CLONED, object_id=error.staff_id, now=ctx.now()
            )


def _start_session(ctx: Context, person: Staff, session_token: str, return_url: str) -> Redirect:
    home = return_url or auth.HOME_URL_OF_ROLE[person.role]
    return Redirect(
        home, status_code=303, cookies=[auth.session_cookie(ctx.settings, session_token)]
    )


def _render_link_invalid(ctx: Context, error: LinkInvalid) -> Response[str]:
    return rendering.render(
        ctx, "staff_message.html", status=error.status, title=error.title, detail=error.detail
    )
