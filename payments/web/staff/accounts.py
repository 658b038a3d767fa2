"""A colleague's own page, and the page on which an administrator says who else may come in."""

from datetime import datetime
from typing import Any

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from payments.core.errors import InvalidField
from payments.infra import audit_log
from payments.infra.audit_log import AuditAction
from payments.infra.context import Context
from payments.staff import accounts, oidc, oidc_provider, passkeys
from payments.staff.accounts import AuthenticatedStaff, PermissionDenied, Role, Staff
from payments.staff.passkeys import PasskeyRefused
from payments.web.account import view_models
from payments.web.forms import SMALL_FORM_BYTES, AnyRequest, form_data
from payments.web.staff import auth
from payments.web.staff.sign_in import PASSKEY_FORM_BYTES

ROLE_LABELS = {
    Role.FINANCE: "Finance: reads money and no person",
    Role.SUPPORT: "Support: acts for one donor at a time, and sees no books",
    Role.ADMIN: "Administrator: both, and says who else may come in",
}
OWN_ACCOUNT_URL = "/staff"
RECENT_SIGN_INS = 6  # how many of the last are shown
ACCOUNTS_URL = "/staff/colleagues"


class OwnAccountPage(Controller):
    path = OWN_ACCOUNT_URL
    include_in_schema = False

    @get()
    async def show(
        self, ctx: NamedDependency[Context], staff_session: NamedDependency[AuthenticatedStaff]
    ) -> Response[str]:
        """Who they are here, their passkeys, and the way out."""
        return await _render_own_account(ctx, staff_session)

    @post("/passkeys", request_max_body_size=PASSKEY_FORM_BYTES)
    async def add_passkey(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        staff_session: NamedDependency[AuthenticatedStaff],
    ) -> Response[Any]:
        """Keep a passkey that was made on this page."""
        answer = (await form_data(request)).get("answer", "")
        bound = f"session {staff_session.session_id}"
        try:
            async with ctx.sessions.begin() as session:
                await passkeys.register(
                    session,
                    ctx.settings,
                    staff_session.colleague,
                    answer,
                    bound_to=bound,
                    now=ctx.now(),
                )
        except PasskeyRefused as error:
            return await _render_own_account(
                ctx, staff_session, status=error.status, error=error.detail
            )
        return Redirect(OWN_ACCOUNT_URL, status_code=303)

    @post("/passkeys/{name:str}/remove", request_max_body_size=SMALL_FORM_BYTES)
    async def remove_passkey(
        self, ctx: NamedDependency[Context], colleague: NamedDependency[Staff], name: FromPath[str]
    ) -> Response[Any]:
        """Remove a passkey of one's own."""
        async with ctx.sessions.begin() as session:
            await passkeys.remove(session, colleague, name, now=ctx.now())
        return Redirect(OWN_ACCOUNT_URL, status_code=303)


class StaffAccountPages(Controller):
    path = ACCOUNTS_URL
    include_in_schema = False

    @get()
    async def list_accounts(
        self, ctx: NamedDependency[Context], colleague: NamedDependency[Staff]
    ) -> Response[str]:
        """All who may come in, and the form that invites another."""
        return await _render_accounts(ctx, colleague)

    @post(request_max_body_size=SMALL_FORM_BYTES)
    async def invite(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[str]:
        """Show a new link, once: it is kept nowhere."""
        sent = await form_data(request)
        name = sent.get("name", "").strip()
        try:
            token = await _create_invitation(ctx, colleague, name, sent)
        except InvalidField as error:
            return await _render_accounts(ctx, colleague, name=name, error=error)
        link = f"{ctx.settings.base_url}/staff/enter/{token}"
        return await _render_accounts(ctx, colleague, link=link, invited=name)

    @post("/{staff_id:str}/role", request_max_body_size=SMALL_FORM_BYTES)
    async def change_role(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
        staff_id: FromPath[str],
    ) -> Response[Any]:
        """Give a colleague another role, which signs them out."""
        role = _parse_role(await form_data(request))
        async with ctx.sessions.begin() as session:
            person = _require_other_person(colleague, await accounts.get(session, staff_id))
            await accounts.change_role(session, person, role, now=ctx.now(), by=colleague)
        return Redirect(ACCOUNTS_URL, status_code=303)

    @post("/{staff_id:str}/remove", request_max_body_size=SMALL_FORM_BYTES)
    async def remove(
        self,
        ctx: NamedDependency[Context],
        colleague: NamedDependency[Staff],
        staff_id: FromPath[str],
    ) -> Response[Any]:
        """Let a colleague in no more."""
        async with ctx.sessions.begin() as session:
            person = _require_other_person(colleague, await accounts.get(session, staff_id))
            await passkeys.revoke_all(session, person, by=colleague, now=ctx.now())
            await accounts.remove(session, person, now=ctx.now(), by=colleague)
        return Redirect(ACCOUNTS_URL, status_code=303)


async def _create_invitation(ctx: Context, by: Staff, name: str, sent: dict[str, str]) -> str:
    role = _parse_role(sent)
    async with ctx.sessions.begin() as session:
        if sent.get("replace") == "yes":
            person = _require_other_person(by, await accounts.get_by_name(session, name))
            await passkeys.revoke_all(session, person, by=by, now=ctx.now())
        return await accounts.invite(session, name, role=role, now=ctx.now(), by=by)


def _parse_role(sent: dict[str, str]) -> Role:
    try:
        return Role(sent.get("role", ""))
    except ValueError:
        raise InvalidField("Choose one of the roles. Nothing was changed.", field="role") from None


def _require_other_person(by: Staff, person: Staff) -> Staff:
    """Nobody does this to themselves: somebody else, or the command line, has to."""
    if person.id == by.id:
        raise PermissionDenied("Somebody else has to do this for you. Nothing was changed.")
    return person


async def _render_own_account(
    ctx: Context, staff_session: AuthenticatedStaff, *, status: int = 200, error: str = ""
) -> Response[str]:
    who = staff_session.colleague
    async with ctx.sessions() as session:
        known = await passkeys.list_for(session, who.id)
        account = await oidc.get_linked_account(session, who.id)
        ways_in = await audit_log.list_entries(
            session, name=who.name, action=AuditAction.SIGNED_IN, limit=RECENT_SIGN_INS
        )
    possible, fresh = (
        passkeys.is_supported(ctx.settings),
        staff_session.is_recently_authenticated(ctx.now()),
    )
    options = ""
    if possible and fresh:
        bound = f"session {staff_session.session_id}"
        options = passkeys.registration_options(
            ctx.settings, who, known, bound_to=bound, now=ctx.now()
        )
    made = auth.render(
        ctx,
        "staff_own_account.html",
        who,
        active_url=OWN_ACCOUNT_URL,
        status=status,
        role=ROLE_LABELS[who.role],
        possible=possible,
        fresh=fresh,
        options=options,
        error=error,
        issuer=oidc_provider.provider_name(ctx.settings),
        account=None
        if account is None
        else _credential_view(ctx, account.linked_at, account.last_used_at),
        ways_in=[
            {"at": view_models.format_minute(ctx, one.recorded_at), "how": one.reason}
            for one in ways_in
        ],
        passkeys=[
            {"name": key.fingerprint, **_credential_view(ctx, key.registered_at, key.last_used_at)}
            for key in known
        ],
    )
    return auth.allow_script(ctx, made)


def _credential_view(ctx: Context, made_at: datetime, used_at: datetime | None) -> dict[str, str]:
    used = "" if used_at is None else view_models.format_minute(ctx, used_at)
    return {"made": view_models.format_minute(ctx, made_at), "used": used}


async def _render_accounts(
    ctx: Context,
    colleague: Staff,
    *,
    link: str = "",
    invited: str = "",
    name: str = "",
    error: InvalidField | None = None,
) -> Response[str]:
    async with ctx.sessions() as session:
        people = [
            (
                one,
                await passkeys.list_for(session, one.id),
                await oidc.get_linked_account(session, one.id),
            )
            for one in await accounts.list_active(session)
        ]
    return auth.render(
        ctx,
        "staff_accounts.html",
        colleague,
        active_url=ACCOUNTS_URL,
        status=200 if error is None else error.status,
        link=link,
        invited=invited,
        name=name,
        error="" if error is None else error.detail,
        roles=auth.select_options([(role.value, label) for role, label in ROLE_LABELS.items()], ""),
        people=[
            {
                "id": one.id,
                "name": one.name,
                "since": view_models.format_date(ctx, one.created_at),
                "passkeys": len(keys),
                "issuer": oidc_provider.provider_name(ctx.settings) if account is not None else "",
                "you": one.id == colleague.id,
                "role": ROLE_LABELS[one.role].partition(":")[0],
                "roles": auth.select_options(
                    [(role.value, label.partition(":")[0]) for role, label in ROLE_LABELS.items()],
                    one.role.value,
                ),
            }
            for one, keys, account in people
        ],
    )
