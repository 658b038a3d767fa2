"""The audit, to read: who did what, about which id, why and when. The address is the state."""

import re
from collections.abc import Sequence

from litestar import Controller, Response, get
from litestar.di import NamedDependency

from payments.core.errors import InvalidField
from payments.infra import audit_log
from payments.infra.audit_log import AuditAction, AuditEntry
from payments.infra.context import Context
from payments.staff import accounts
from payments.staff.accounts import Staff
from payments.web.forms import AnyRequest
from payments.web.staff import auth

AUDIT_LOG_URL = "/finance/audit"
ENTRIES_PER_PAGE = 100
SEQ_PATTERN = re.compile(r"[1-9][0-9]{0,17}")


class AuditLogPage(Controller):
    path = AUDIT_LOG_URL
    include_in_schema = False

    @get()
    async def list_entries(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[str]:
        """Entries, the newest first, of everybody or of one, of all deeds or of one kind."""
        asked = request.query_params
        name, deed = asked.get("who", ""), asked.get("what", "")
        before = asked.get("before", "")
        if before and not SEQ_PATTERN.fullmatch(before):
            raise InvalidField("before: the number of an entry.", field="before")
        if name and not name.isprintable():
            raise InvalidField("who: a name.", field="who")
        if deed and deed not in tuple(AuditAction):
            raise InvalidField("what: one of the deeds of the list.", field="what")
        async with ctx.sessions() as session:
            found = await audit_log.list_entries(
                session,
                name=name[:80] or None,
                action=deed or None,
                before_seq=int(before) if before else None,
                limit=ENTRIES_PER_PAGE + 1,
            )
            people = [one.name for one in await accounts.list_active(session)]
            sound = await audit_log.is_append_only(session)
        return auth.render(
            ctx,
            "staff_audit_log.html",
            colleague,
            active_url=AUDIT_LOG_URL,
            entries=[_entry_view(ctx, entry) for entry in found[:ENTRIES_PER_PAGE]],
            older=_older_url(found, name, deed),
            newest=bool(before),
            who=_actor_options(people, name),
            what=auth.select_options(
                [("", "Everything"), *((one.value, _action_label(one)) for one in AuditAction)],
                deed,
            ),
            zone=ctx.settings.accounting_zone,
            sound=sound,
        )


def _older_url(found: Sequence[AuditEntry], name: str, action: str) -> str:
    if len(found) <= ENTRIES_PER_PAGE:
        return ""
    return (
        f"?{auth.query_string(who=name, what=action, before=str(found[ENTRIES_PER_PAGE - 1].seq))}"
    )


def _actor_options(people: list[str], chosen: str) -> list[dict[str, object]]:
    """Everybody who is here, and whoever the address names."""
    named = [*people, audit_log.CLI_ACTOR, audit_log.ANONYMOUS_ACTOR]
    if chosen and chosen not in named:
        named.append(chosen)
    return auth.select_options([("", "Everybody"), *((one, one) for one in named)], chosen)


def _action_label(action: str) -> str:
    return action.replace("_", " ").capitalize()


def _entry_view(ctx: Context, entry: AuditEntry) -> dict[str, str]:
    return {
        "at": entry.recorded_at.astimezone(ctx.settings.accounting_zoneinfo).strftime(
            "%Y-%m-%d %H:%M:%S"
        ),
        "name": entry.name,
        "deed": _action_label(entry.action),
        "about": entry.object_id,
        "reason": entry.reason,
    }
