"""The audit, to read: who did what, about which id, why and when. The address is the state."""

import re
from collections.abc import Sequence

from litestar import Controller, Response, get
from litestar.di import NamedDependency

from payments.core.errors import InvalidField
from payments.infra import audit_log
from payments.infra.audit_log import AuditEntry, Deed
from payments.infra.context import Runtime
from payments.staff import accounts
from payments.staff.accounts import Staff
from payments.web.forms import AnyRequest
from payments.web.staff import auth

PAGE = "/finance/audit"
SHOWN = 100
BEFORE = re.compile(r"[1-9][0-9]{0,17}")


class AuditPage(Controller):
    path = PAGE
    include_in_schema = False

    @get()
    async def read(
        self,
        rt: NamedDependency[Runtime],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[str]:
        """Entries, the newest first, of everybody or of one, of all deeds or of one kind."""
        asked = request.query_params
        name, deed = asked.get("who", ""), asked.get("what", "")
        before = asked.get("before", "")
        if before and not BEFORE.fullmatch(before):
            raise InvalidField("before: the number of an entry.", field="before")
        if name and not name.isprintable():
            raise InvalidField("who: a name.", field="who")
        if deed and deed not in tuple(Deed):
            raise InvalidField("what: one of the deeds of the list.", field="what")
        async with rt.sessions() as session:
            found = await audit_log.read(
                session,
                name=name[:80] or None,
                deed=deed or None,
                before=int(before) if before else None,
                limit=SHOWN + 1,
            )
            people = [one.name for one in await accounts.everybody(session)]
            sound = await audit_log.is_append_only(session)
        return auth.page(
            rt,
            "staff_audit.html",
            colleague,
            here=PAGE,
            entries=[_facts(rt, entry) for entry in found[:SHOWN]],
            older=_older(found, name, deed),
            newest=bool(before),
            who=_who(people, name),
            what=auth.options(
                [("", "Everything"), *((one.value, _words(one)) for one in Deed)], deed
            ),
            zone=rt.settings.accounting_zone,
            sound=sound,
        )


def _older(found: Sequence[AuditEntry], name: str, deed: str) -> str:
    if len(found) <= SHOWN:
        return ""
    return f"?{auth.query(who=name, what=deed, before=str(found[SHOWN - 1].seq))}"


def _who(people: list[str], chosen: str) -> list[dict[str, object]]:
    """Everybody who is here, and whoever the address names."""
    named = [*people, audit_log.OPERATOR, audit_log.SOMEBODY]
    if chosen and chosen not in named:
        named.append(chosen)
    return auth.options([("", "Everybody"), *((one, one) for one in named)], chosen)


def _words(deed: str) -> str:
    return deed.replace("_", " ").capitalize()


def _facts(rt: Runtime, entry: AuditEntry) -> dict[str, str]:
    return {
        "at": entry.at.astimezone(rt.settings.zone).strftime("%Y-%m-%d %H:%M:%S"),
        "name": entry.name,
        "deed": _words(entry.deed),
        "about": entry.about,
        "reason": entry.reason,
    }
