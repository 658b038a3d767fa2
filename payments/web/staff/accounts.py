"""A colleague's own page, and the page on which an administrator manages accounts."""

from datetime import date, datetime
from typing import Any

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from payments.core import i18n
from payments.core.errors import InvalidField
from payments.infra import audit_log
from payments.infra.audit_log import AuditAction
from payments.infra.context import Context
from payments.staff import accounts, administration, oidc, oidc_provider, passkeys, sessions
from payments.staff.accounts import PermissionDenied, Role, Staff
from payments.staff.oidc import StaffLinkedAccount
from payments.staff.passkeys import PasskeyRefused, StaffPasskey
from payments.staff.sessions import AuthenticatedStaff
from payments.web.account import view_models
from payments.web.csrf import require_same_origin
from payments.web.forms import SMALL_FORM_BYTES, AnyRequest, form_data, select_options
from payments.web.staff import layout
from payments.web.staff.guards import ADMIN_ROLES, ALL_ROLES, StaffOnly, StepUp
from payments.web.staff.sign_in import PASSKEY_FORM_BYTES

ROLE_LABELS = {
    Role.FINANCE: "Finance: reads money and no person",
    Role.SUPPORT: "Support: acts for one donor at a time, and sees no books",
    Role.ADMIN: "Administrator: both, and says who else may come in",
    Role.AUDITOR: "Auditor: reads what finance reads, and changes nothing",
}
OWN_ACCOUNT_URL = "/staff"
RECENT_SIGN_INS = 6  # shown on a colleague's own page
ACCOUNTS_URL = "/staff/colleagues"


class OwnAccountPage(Controller):
    """A colleague's own account: passkeys and the linked account."""

    path = OWN_ACCOUNT_URL
    include_in_schema = False
    guards = [require_same_origin, StaffOnly(ALL_ROLES)]  # noqa: RUF012 - litestar's own

    @get()
    async def show(
        self, ctx: NamedDependency[Context], staff_session: NamedDependency[AuthenticatedStaff]
    ) -> Response[str]:
        """Show a colleague's role, passkeys, linked account and last sign-ins."""
        return await _render_own_account(ctx, staff_session)

    @post(
        "/passkeys",
        request_max_body_size=PASSKEY_FORM_BYTES,
        guards=[StepUp(form_url=OWN_ACCOUNT_URL)],
    )
    async def add_passkey(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        staff_session: NamedDependency[AuthenticatedStaff],
    ) -> Response[Any]:
        """Register a passkey that was made on this page."""
        credential = (await form_data(request)).get("answer", "")
        try:
            async with ctx.sessions.begin() as session:
                await passkeys.register(
                    session,
                    ctx.settings,
                    staff_session.colleague,
                    credential,
                    bound_to=_registration_binding(staff_session),
                    now=ctx.now(),
                )
        except PasskeyRefused as error:
            return await _render_own_account(
                ctx, staff_session, status=error.status, error=error.detail
            )
        return Redirect(OWN_ACCOUNT_URL, status_code=303)

    @post(
        "/passkeys/{fingerprint:str}/remove",
        request_max_body_size=SMALL_FORM_BYTES,
        guards=[StepUp(form_url=OWN_ACCOUNT_URL)],
    )
    async def remove_passkey(
        self,
        ctx: NamedDependency[Context],
        colleague: NamedDependency[Staff],
        fingerprint: FromPath[str],
    ) -> Response[Any]:
        """Remove a passkey of one's own."""
        async with ctx.sessions.begin() as session:
            await passkeys.remove(session, colleague, fingerprint, now=ctx.now())
        return Redirect(OWN_ACCOUNT_URL, status_code=303)

    @post(
        "/sessions/end",
        request_max_body_size=SMALL_FORM_BYTES,
        guards=[StepUp(form_url=OWN_ACCOUNT_URL)],
    )
    async def end_other_sessions(
        self, ctx: NamedDependency[Context], staff_session: NamedDependency[AuthenticatedStaff]
    ) -> Response[Any]:
        """Sign out in every other browser."""
        async with ctx.sessions.begin() as session:
            await sessions.end_others(session, staff_session, now=ctx.now())
        return Redirect(OWN_ACCOUNT_URL, status_code=303)


class StaffAccountPages(Controller):
    """The accounts of all colleagues, for administrators."""

    path = ACCOUNTS_URL
    include_in_schema = False
    guards = [  # noqa: RUF012 - litestar's own
        require_same_origin,
        StaffOnly(ADMIN_ROLES),
        StepUp(form_url=ACCOUNTS_URL),
    ]

    @get()
    async def list_accounts(
        self, ctx: NamedDependency[Context], colleague: NamedDependency[Staff]
    ) -> Response[str]:
        """Show the colleagues, and the form that invites another."""
        return await _render_accounts(ctx, colleague)

    @post(request_max_body_size=SMALL_FORM_BYTES)
    async def invite(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[str]:
        """Create an invitation link and show it, once: only its hash is stored."""
        fields = await form_data(request)
        name = fields.get("name", "").strip()
        try:
            token = await _create_invitation(ctx, colleague, name, fields)
        except InvalidField as error:
            return await _render_accounts(ctx, colleague, fields, error=error)
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
        """Give a colleague another role, which signs them out everywhere, or another last day."""
        fields = await form_data(request)
        try:
            role, until = _parse_role(fields), _parse_access_end(ctx, fields)
        except InvalidField as error:
            return await _render_accounts(ctx, colleague, error=error)
        async with ctx.sessions.begin() as session:
            other = _require_other_person(colleague, await accounts.get(session, staff_id))
            await administration.change_role(session, other, role, now=ctx.now(), by=colleague)
            if "until" in fields:
                await administration.set_access_end(
                    session, other, until, now=ctx.now(), by=colleague
                )
        return Redirect(ACCOUNTS_URL, status_code=303)

    @post("/{staff_id:str}/remove", request_max_body_size=SMALL_FORM_BYTES)
    async def remove(
        self,
        ctx: NamedDependency[Context],
        colleague: NamedDependency[Staff],
        staff_id: FromPath[str],
    ) -> Response[Any]:
        """Remove a colleague and their credentials."""
        async with ctx.sessions.begin() as session:
            other = _require_other_person(colleague, await accounts.get(session, staff_id))
            await administration.revoke_credentials(session, other, by=colleague, now=ctx.now())
            await administration.remove(session, other, now=ctx.now(), by=colleague)
        return Redirect(ACCOUNTS_URL, status_code=303)


def _registration_binding(staff_session: AuthenticatedStaff) -> str:
    """Return what the challenge of a new passkey on this page is bound to."""
    return f"session {staff_session.session_id}"


async def _create_invitation(ctx: Context, by: Staff, name: str, fields: dict[str, str]) -> str:
    role, until = _parse_role(fields), _parse_access_end(ctx, fields)
    async with ctx.sessions.begin() as session:
        if fields.get("replace") == "yes":
            other = _require_other_person(by, await accounts.get_by_name(session, name))
            await administration.revoke_credentials(session, other, by=by, now=ctx.now())
        return await accounts.invite(
            session, name, role=role, access_ends_at=until, now=ctx.now(), by=by
        )


def _parse_role(fields: dict[str, str]) -> Role:
    try:
        return Role(fields.get("role", ""))
    except ValueError:
        raise InvalidField("Choose one of the roles. Nothing was changed.", field="role") from None


def _parse_access_end(ctx: Context, fields: dict[str, str]) -> datetime | None:
    """Return when an access ends by the last day of a form. Raises InvalidField."""
    text = fields.get("until", "")
    if not text:
        return None
    try:
        last_day = date.fromisoformat(text)
    except ValueError:
        raise InvalidField(
            "Type the last day such as 2026-12-31. Nothing was changed.", field="until"
        ) from None
    return accounts.access_end(last_day, ctx.settings.accounting_zoneinfo, now=ctx.now())


def _require_other_person(by: Staff, colleague: Staff) -> Staff:
    """Return the colleague, unless it is whoever acts. Raises PermissionDenied."""
    if colleague.id == by.id:
        raise PermissionDenied("Somebody else has to do this for you. Nothing was changed.")
    return colleague


async def _render_own_account(
    ctx: Context, staff_session: AuthenticatedStaff, *, status: int = 200, error: str = ""
) -> Response[str]:
    colleague = staff_session.colleague
    async with ctx.sessions() as session:
        existing = await passkeys.list_for(session, colleague.id)
        account = await oidc.get_linked_account(session, colleague.id)
        sign_ins = await audit_log.list_entries(
            session, name=colleague.name, action=AuditAction.SIGNED_IN, limit=RECENT_SIGN_INS
        )
        open_sessions = await sessions.list_open(session, staff_session, now=ctx.now())
    is_supported = passkeys.is_supported(ctx.settings)
    is_recent = staff_session.is_recently_authenticated(ctx.now())
    options = ""
    if is_supported and is_recent:
        options = passkeys.registration_options(
            ctx.settings,
            colleague,
            existing,
            bound_to=_registration_binding(staff_session),
            now=ctx.now(),
        )
    page = layout.render(
        ctx,
        "staff_own_account.html",
        colleague,
        active_url=OWN_ACCOUNT_URL,
        status=status,
        role=ROLE_LABELS[colleague.role],
        passkeys_supported=is_supported,
        recently_authenticated=is_recent,
        options=options,
        error=error,
        issuer=oidc_provider.provider_name(ctx.settings),
        account=None if account is None else _account_view(ctx, account),
        sign_ins=[
            {"at": view_models.format_minute(ctx, entry.recorded_at), "method": entry.reason}
            for entry in sign_ins
        ],
        passkeys=[_passkey_view(ctx, passkey) for passkey in existing],
        open_sessions=[
            {
                "started": view_models.format_minute(ctx, one.started_at),
                "seen": view_models.format_minute(ctx, one.last_seen_at),
                "is_current": one.is_current,
            }
            for one in open_sessions
        ],
    )
    return layout.allow_script(ctx, page)


def _passkey_view(ctx: Context, passkey: StaffPasskey) -> dict[str, str]:
    return {
        "fingerprint": passkey.fingerprint,
        **_dates_view(ctx, passkey.registered_at, passkey.last_used_at),
    }


def _account_view(ctx: Context, account: StaffLinkedAccount) -> dict[str, str]:
    return _dates_view(ctx, account.linked_at, account.last_used_at)


def _dates_view(ctx: Context, added_at: datetime, used_at: datetime | None) -> dict[str, str]:
    used = "" if used_at is None else view_models.format_minute(ctx, used_at)
    return {"added": view_models.format_minute(ctx, added_at), "used": used}


async def _render_accounts(
    ctx: Context,
    colleague: Staff,
    fields: dict[str, str] | None = None,
    *,
    link: str = "",
    invited: str = "",
    error: InvalidField | None = None,
) -> Response[str]:
    fields = fields or {}
    async with ctx.sessions() as session:
        views = [
            _colleague_view(
                ctx,
                one,
                passkey_count=len(await passkeys.list_for(session, one.id)),
                has_account=await oidc.get_linked_account(session, one.id) is not None,
                is_self=one.id == colleague.id,
            )
            for one in await accounts.list_active(session)
        ]
    return layout.render(
        ctx,
        "staff_accounts.html",
        colleague,
        active_url=ACCOUNTS_URL,
        status=200 if error is None else error.status,
        link=link,
        invited=invited,
        name=fields.get("name", ""),
        until=fields.get("until", ""),
        error="" if error is None else error.detail,
        roles=select_options(
            [(role.value, label) for role, label in ROLE_LABELS.items()], fields.get("role", "")
        ),
        colleagues=views,
    )


def _colleague_view(
    ctx: Context, colleague: Staff, *, passkey_count: int, has_account: bool, is_self: bool
) -> dict[str, object]:
    last_day = accounts.last_day(colleague, ctx.settings.accounting_zoneinfo)
    short_labels = [(role.value, _short_label(role)) for role in ROLE_LABELS]
    return {
        "id": colleague.id,
        "name": colleague.name,
        "since": view_models.format_date(ctx, colleague.created_at),
        "passkeys": passkey_count,
        "issuer": oidc_provider.provider_name(ctx.settings) if has_account else "",
        "is_self": is_self,
        "role": _short_label(colleague.role),
        "until": "" if last_day is None else last_day.isoformat(),
        "until_text": "" if last_day is None else i18n.format_day(last_day, i18n.DEFAULT_LOCALE),
        "has_access": colleague.has_access(ctx.now()),
        "roles": select_options(short_labels, colleague.role.value),
    }


def _short_label(role: Role) -> str:
    return ROLE_LABELS[role].partition(":")[0]
