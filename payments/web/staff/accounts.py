"""A colleague's own page, and the page on which an administrator says who else may come in."""

from datetime import datetime
from typing import Any

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from payments.core.errors import InvalidField
from payments.infra import audit_log
from payments.infra.audit_log import Deed
from payments.infra.context import Runtime
from payments.staff import accounts, oidc, oidc_provider, passkeys
from payments.staff.accounts import NotAllowed, Role, SignedIn, Staff
from payments.staff.passkeys import PasskeyRefused
from payments.web.account import view_models
from payments.web.forms import SMALL, AnyRequest, typed
from payments.web.staff import auth
from payments.web.staff.sign_in import ANSWER_MOST

ROLES = {
    Role.FINANCE: "Finance: reads money and no person",
    Role.SUPPORT: "Support: acts for one donor at a time, and sees no books",
    Role.ADMIN: "Administrator: both, and says who else may come in",
}
YOURS = "/staff"
WAYS_IN = 6  # how many of the last are shown
PAGE = "/staff/colleagues"


class OwnPage(Controller):
    path = YOURS
    include_in_schema = False

    @get()
    async def show(
        self, rt: NamedDependency[Runtime], asking: NamedDependency[SignedIn]
    ) -> Response[str]:
        """Who they are here, their passkeys, and the way out."""
        return await _own_page(rt, asking)

    @post("/passkeys", request_max_body_size=ANSWER_MOST)
    async def add(
        self,
        rt: NamedDependency[Runtime],
        request: AnyRequest,
        asking: NamedDependency[SignedIn],
    ) -> Response[Any]:
        """Keep a passkey that was made on this page."""
        answer = (await typed(request)).get("answer", "")
        bound = f"session {asking.session}"
        try:
            async with rt.sessions.begin() as session:
                await passkeys.make(
                    session, rt.settings, asking.person, answer, bound=bound, now=rt.now()
                )
        except PasskeyRefused as error:
            return await _own_page(rt, asking, status=error.status, error=error.detail)
        return Redirect(YOURS, status_code=303)

    @post("/passkeys/{name:str}/remove", request_max_body_size=SMALL)
    async def remove(
        self, rt: NamedDependency[Runtime], colleague: NamedDependency[Staff], name: FromPath[str]
    ) -> Response[Any]:
        """Remove a passkey of one's own."""
        async with rt.sessions.begin() as session:
            await passkeys.remove(session, colleague, name, now=rt.now())
        return Redirect(YOURS, status_code=303)


class ColleaguePages(Controller):
    path = PAGE
    include_in_schema = False

    @get()
    async def everybody(
        self, rt: NamedDependency[Runtime], colleague: NamedDependency[Staff]
    ) -> Response[str]:
        """All who may come in, and the form that invites another."""
        return await _everybody(rt, colleague)

    @post(request_max_body_size=SMALL)
    async def invite(
        self,
        rt: NamedDependency[Runtime],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[str]:
        """Show a new link, once: it is kept nowhere."""
        sent = await typed(request)
        name = sent.get("name", "").strip()
        try:
            token = await _invite(rt, colleague, name, sent)
        except InvalidField as error:
            return await _everybody(rt, colleague, name=name, error=error)
        link = f"{rt.settings.base_url}/staff/enter/{token}"
        return await _everybody(rt, colleague, link=link, invited=name)

    @post("/{staff_id:str}/role", request_max_body_size=SMALL)
    async def change_role(
        self,
        rt: NamedDependency[Runtime],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
        staff_id: FromPath[str],
    ) -> Response[Any]:
        """Give a colleague another role, which signs them out."""
        role = _role(await typed(request))
        async with rt.sessions.begin() as session:
            person = _another(colleague, await accounts.find(session, staff_id))
            await accounts.change_role(session, person, role, now=rt.now(), by=colleague)
        return Redirect(PAGE, status_code=303)

    @post("/{staff_id:str}/remove", request_max_body_size=SMALL)
    async def remove(
        self,
        rt: NamedDependency[Runtime],
        colleague: NamedDependency[Staff],
        staff_id: FromPath[str],
    ) -> Response[Any]:
        """Let a colleague in no more."""
        async with rt.sessions.begin() as session:
            person = _another(colleague, await accounts.find(session, staff_id))
            await passkeys.revoke_all(session, person, by=colleague, now=rt.now())
            await accounts.remove(session, person, now=rt.now(), by=colleague)
        return Redirect(PAGE, status_code=303)


async def _invite(rt: Runtime, by: Staff, name: str, sent: dict[str, str]) -> str:
    role = _role(sent)
    async with rt.sessions.begin() as session:
        if sent.get("replace") == "yes":
            person = _another(by, await accounts.named(session, name))
            await passkeys.revoke_all(session, person, by=by, now=rt.now())
        return await accounts.invite(session, name, role=role, now=rt.now(), by=by)


def _role(sent: dict[str, str]) -> Role:
    try:
        return Role(sent.get("role", ""))
    except ValueError:
        raise InvalidField("Choose one of the roles. Nothing was changed.", field="role") from None


def _another(by: Staff, person: Staff) -> Staff:
    """Nobody does this to themselves: somebody else, or the command line, has to."""
    if person.id == by.id:
        raise NotAllowed("Somebody else has to do this for you. Nothing was changed.")
    return person


async def _own_page(
    rt: Runtime, asking: SignedIn, *, status: int = 200, error: str = ""
) -> Response[str]:
    who = asking.person
    async with rt.sessions() as session:
        known = await passkeys.of(session, who.id)
        account = await oidc.of(session, who.id)
        ways_in = await audit_log.read(session, name=who.name, deed=Deed.SIGNED_IN, limit=WAYS_IN)
    possible, fresh = passkeys.are_possible(rt.settings), asking.is_proved(rt.now())
    options = ""
    if possible and fresh:
        bound = f"session {asking.session}"
        options = passkeys.ask_to_make(rt.settings, who, known, bound=bound, now=rt.now())
    made = auth.page(
        rt,
        "staff_you.html",
        who,
        here=YOURS,
        status=status,
        role=ROLES[who.role],
        possible=possible,
        fresh=fresh,
        options=options,
        error=error,
        issuer=oidc_provider.name(rt.settings),
        account=None if account is None else _facts(rt, account.tied_at, account.used_at),
        ways_in=[{"at": view_models.minute(rt, one.at), "how": one.reason} for one in ways_in],
        passkeys=[{"name": key.name, **_facts(rt, key.made_at, key.used_at)} for key in known],
    )
    return auth.with_script(rt, made)


def _facts(rt: Runtime, made_at: datetime, used_at: datetime | None) -> dict[str, str]:
    used = "" if used_at is None else view_models.minute(rt, used_at)
    return {"made": view_models.minute(rt, made_at), "used": used}


async def _everybody(
    rt: Runtime,
    colleague: Staff,
    *,
    link: str = "",
    invited: str = "",
    name: str = "",
    error: InvalidField | None = None,
) -> Response[str]:
    async with rt.sessions() as session:
        people = [
            (one, await passkeys.of(session, one.id), await oidc.of(session, one.id))
            for one in await accounts.everybody(session)
        ]
    return auth.page(
        rt,
        "staff_colleagues.html",
        colleague,
        here=PAGE,
        status=200 if error is None else error.status,
        link=link,
        invited=invited,
        name=name,
        error="" if error is None else error.detail,
        roles=auth.options([(role.value, label) for role, label in ROLES.items()], ""),
        people=[
            {
                "id": one.id,
                "name": one.name,
                "since": view_models.day(rt, one.created_at),
                "passkeys": len(keys),
                "issuer": oidc_provider.name(rt.settings) if account is not None else "",
                "you": one.id == colleague.id,
                "role": ROLES[one.role].partition(":")[0],
                "roles": auth.options(
                    [(role.value, label.partition(":")[0]) for role, label in ROLES.items()],
                    one.role.value,
                ),
            }
            for one, keys, account in people
        ],
    )
