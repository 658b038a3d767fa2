"""The page of API tokens: what programs read the books with, made and ended by colleagues.

A colleague sees their own, an administrator everybody's.
"""

from typing import Any

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from payments.core.errors import InvalidField, NotFound
from payments.infra.context import Context
from payments.staff import accounts, api_tokens
from payments.staff.accounts import Role, Staff
from payments.staff.api_tokens import DEFAULT_DAYS, MAX_DAYS, TOKEN_ROLES, ApiToken, TokenScope
from payments.web.account import view_models
from payments.web.csrf import require_same_origin
from payments.web.forms import SMALL_FORM_BYTES, AnyRequest, form_data, parse_count
from payments.web.staff import layout
from payments.web.staff.guards import StaffOnly, StepUp

TOKENS_URL = "/staff/tokens"
SCOPE_LABELS = {
    TokenScope.REPORTS: "Sums: overview, months, recurring, sources, periods",
    TokenScope.TRANSACTIONS: "Each transaction, payout, refund and dispute",
    TokenScope.AUDIT: "Who of the staff did what",
    TokenScope.EXPORTS: "Files: journals and the packs of closed months",
}


class ApiTokenPages(Controller):
    """The tokens of a colleague, and the form that makes one."""

    path = TOKENS_URL
    include_in_schema = False
    guards = [require_same_origin, StaffOnly(TOKEN_ROLES)]  # noqa: RUF012 - litestar's own

    @get()
    async def show(
        self, ctx: NamedDependency[Context], colleague: NamedDependency[Staff]
    ) -> Response[str]:
        """Show the tokens, and the form."""
        return await _render(ctx, colleague)

    @post(request_max_body_size=SMALL_FORM_BYTES, guards=[StepUp(form_url=TOKENS_URL)])
    async def create(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[str]:
        """Make a token and show it, once."""
        fields = await form_data(request)
        days = parse_count(fields.get("days", ""))
        try:
            async with ctx.sessions.begin() as session:
                token, row = await api_tokens.create(
                    session,
                    colleague,
                    name=fields.get("name", ""),
                    scopes=[scope for scope in TokenScope if fields.get(scope) == "yes"],
                    days=-1 if days is None else days,
                    now=ctx.now(),
                    by=colleague,
                )
        except InvalidField as error:
            return await _render(ctx, colleague, fields=fields, error=error)
        return await _render(ctx, colleague, token=token, made=row.name)

    @post("/{token_id:str}/revoke", request_max_body_size=SMALL_FORM_BYTES)
    async def revoke(
        self,
        ctx: NamedDependency[Context],
        colleague: NamedDependency[Staff],
        token_id: FromPath[str],
    ) -> Response[Any]:
        """End a token at once: of one's own, or of anybody for an administrator."""
        async with ctx.sessions.begin() as session:
            row = await api_tokens.get(session, token_id)
            if row.staff_id != colleague.id and colleague.role is not Role.ADMIN:
                raise NotFound("There is no such token.")
            await api_tokens.revoke(session, row, now=ctx.now(), by=colleague)
        return Redirect(TOKENS_URL, status_code=303)


async def _render(
    ctx: Context,
    colleague: Staff,
    *,
    token: str = "",
    made: str = "",
    fields: dict[str, str] | None = None,
    error: InvalidField | None = None,
) -> Response[str]:
    of = None if colleague.role is Role.ADMIN else colleague.id
    async with ctx.sessions() as session:
        rows = await api_tokens.list_all(session, staff_id=of)
        names = {one.id: one.name for one in await accounts.list_active(session)}
    entered = fields or {}
    return layout.render(
        ctx,
        "staff_api_tokens.html",
        colleague,
        active_url=TOKENS_URL,
        status=200 if error is None else error.status,
        token=token,
        made=made,
        name=entered.get("name", ""),
        days=entered.get("days", str(DEFAULT_DAYS)),
        max_days=MAX_DAYS,
        scopes=[
            {"value": scope.value, "label": label, "chosen": entered.get(scope) == "yes"}
            for scope, label in SCOPE_LABELS.items()
        ],
        error="" if error is None else error.detail,
        api_url=f"{ctx.settings.base_url}/api/finance",
        tokens=[_view(ctx, row, names.get(row.staff_id, "")) for row in rows],
    )


def _view(ctx: Context, row: ApiToken, made_by: str) -> dict[str, object]:
    used = row.last_used_on
    return {
        "id": row.id,
        "name": row.name,
        "prefix": row.prefix,
        "scopes": row.scopes,
        "made": f"{view_models.format_date(ctx, row.created_at)}, {made_by}",
        "ends": view_models.format_date(ctx, row.expires_at),
        "used": "never used" if used is None else f"last used on {used:%-d %B %Y}",
        "is_live": row.is_live(ctx.now()),
        "ended": "revoked" if row.revoked_at is not None else "expired",
    }
