"""The audit log for programs."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from litestar import Controller, get
from litestar.di import NamedDependency

from payments.infra import audit_log
from payments.infra.context import Context
from payments.staff.api_tokens import TokenScope
from payments.web.finance import audit_log as audit_page
from payments.web.finance import filters
from payments.web.finance_api.access import API_PREFIX, TokenOnly
from payments.web.finance_api.answers import About, about, refusals, shape_all
from payments.web.finance_api.cursors import next_cursor, read_cursor
from payments.web.finance_api.parameters import PAGE_PARAMETERS, PERIOD_PARAMETERS, page_size
from payments.web.forms import AnyRequest


class AuditLine(msgspec.Struct, frozen=True):
    """What a colleague did, to which id, why and when."""

    seq: int
    recorded_at: datetime
    name: str
    action: str
    object_id: str
    reason: str


class AuditLog(msgspec.Struct, frozen=True):
    """A page of the audit log, newest first. `is_append_only`: no entry can be changed."""

    about: About
    is_append_only: bool
    items: Sequence[AuditLine]
    next_cursor: str | None


class AuditApi(Controller):
    """Who did what."""

    path = API_PREFIX
    tags = ("Audit",)

    @get(
        "/audit",
        operation_id="listAuditEntries",
        summary="Who did what, newest first",
        guards=[TokenOnly(TokenScope.AUDIT)],
        parameters=(*PERIOD_PARAMETERS, "who", "what", *PAGE_PARAMETERS),
        responses=refusals(),
    )
    async def audit(self, ctx: NamedDependency[Context], request: AnyRequest) -> AuditLog:
        """As on the page “Audit”."""
        name, action = audit_page.parse_filters(request.query_params)
        since, until = filters.moments(ctx, filters.period_or_default(ctx, request.query_params)[1])
        place, size = read_cursor(ctx, request), page_size(request)
        async with ctx.sessions() as session:
            found = await audit_log.list_entries(
                session,
                name=name,
                action=action,
                since=since,
                until=until,
                before_seq=None if place is None else int(place),
                limit=size + 1,
            )
            is_append_only = await audit_log.is_append_only(session)
            said = await about(ctx, session)
        more = found[size - 1].seq if len(found) > size else None
        items = shape_all(AuditLine, found[:size])
        return AuditLog(said, is_append_only, items, next_cursor(ctx, request, more))
