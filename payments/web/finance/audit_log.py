"""The audit log, to read: who did what, to which id, why and when. Filters are in the URL."""

import re
from collections.abc import Mapping, Sequence

from litestar import Controller, Response, get
from litestar.di import NamedDependency

from payments.core.errors import InvalidField
from payments.infra import audit_log
from payments.infra.audit_log import AuditAction, AuditEntry
from payments.infra.context import Context
from payments.staff import accounts
from payments.staff.accounts import Staff
from payments.web.finance import filters
from payments.web.forms import AnyRequest, query_string, select_options
from payments.web.staff import layout

AUDIT_LOG_URL = "/finance/audit"
ENTRIES_PER_PAGE = 100
SEQ_PATTERN = re.compile(r"[1-9][0-9]{0,17}")


class AuditLogPage(Controller):
    """The audit log, to read."""

    path = AUDIT_LOG_URL
    include_in_schema = False

    @get()
    async def list_entries(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[str]:
        """Entries of a period, the newest first, by who did it and by what was done."""
        params = request.query_params
        name, action = parse_filters(params)
        chosen, of = filters.period_or_default(ctx, params)
        since, until = filters.moments(ctx, of)
        before = params.get("before", "")
        if before and not SEQ_PATTERN.fullmatch(before):
            raise InvalidField("before: the number of an entry.", field="before")
        async with ctx.sessions() as session:
            entries = await audit_log.list_entries(
                session,
                name=name,
                action=action,
                since=since,
                until=until,
                before_seq=int(before) if before else None,
                limit=ENTRIES_PER_PAGE + 1,
            )
            names = [one.name for one in await accounts.list_active(session)]
            is_append_only = await audit_log.is_append_only(session)
        return layout.render(
            ctx,
            "staff_audit_log.html",
            colleague,
            active_url=AUDIT_LOG_URL,
            entries=[_entry_view(ctx, entry) for entry in entries[:ENTRIES_PER_PAGE]],
            older_url=_older_url(entries, {**chosen, "who": name or "", "what": action or ""}),
            export_url=f"{AUDIT_LOG_URL}.csv{query_string(**chosen, who=name, what=action)}",
            is_first_page=not before,
            newest_url=f"{AUDIT_LOG_URL}{query_string(**chosen, who=name, what=action)}",
            picker=filters.period_picker(ctx, chosen),
            who=_actor_options(names, name or ""),
            what=select_options(
                [("", "Everything"), *((one.value, _action_label(one)) for one in AuditAction)],
                action or "",
            ),
            zone=ctx.settings.accounting_zone,
            is_append_only=is_append_only,
        )


def parse_filters(params: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Return who acted and what was done, as an address asks. Raises InvalidField."""
    name, action = params.get("who", ""), params.get("what", "")
    if name and not name.isprintable():
        raise InvalidField("who: a name.", field="who")
    if action and action not in tuple(AuditAction):
        raise InvalidField("what: one of the deeds of the list.", field="what")
    return name[:80] or None, action or None


def _older_url(entries: Sequence[AuditEntry], chosen: Mapping[str, str]) -> str:
    """Return the query of the next page, or an empty text on the last one."""
    if len(entries) <= ENTRIES_PER_PAGE:
        return ""
    return query_string(**chosen, before=entries[ENTRIES_PER_PAGE - 1].seq)


def _actor_options(names: list[str], chosen: str) -> list[dict[str, object]]:
    """Return the options for who acted: the colleagues, and whoever the URL names."""
    actors = [*names, audit_log.CLI_ACTOR, audit_log.ANONYMOUS_ACTOR]
    if chosen and chosen not in actors:
        actors.append(chosen)
    return select_options([("", "Everybody"), *((actor, actor) for actor in actors)], chosen)


def _action_label(action: str) -> str:
    return action.replace("_", " ").capitalize()


def _entry_view(ctx: Context, entry: AuditEntry) -> dict[str, str]:
    local = entry.recorded_at.astimezone(ctx.settings.accounting_zoneinfo)
    return {
        "at": f"{local:%Y-%m-%d %H:%M:%S}",
        "name": entry.name,
        "action": _action_label(entry.action),
        "object_id": entry.object_id,
        "reason": entry.reason,
    }
