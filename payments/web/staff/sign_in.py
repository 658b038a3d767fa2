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

from payments.core.errors import LinkSpent, NotSignedIn
from payments.infra import alerts, audit_log
from payments.infra.alerts import AlarmKind
from payments.infra.audit_log import Deed
from payments.infra.context import Runtime
from payments.staff import accounts, oidc_provider, passkeys
from payments.staff.accounts import SignedIn, Staff
from payments.staff.passkeys import PasskeyCopied, PasskeyRefused, Purpose
from payments.web import templates
from payments.web.forms import SMALL, AnyRequest, typed
from payments.web.staff import auth

ANSWER_MOST = 16 * 1024  # bytes of a form with a browser's answer in it


class StaffDoor(Controller):
    path = "/staff"
    include_in_schema = False

    @get("/sign-in")
    async def ask(self, rt: NamedDependency[Runtime], request: AnyRequest) -> Response[Any]:
        """The passkey's button; whoever is in already goes on."""
        back = auth.safe_back(request.query_params.get("back", ""))
        token = request.cookies.get(auth.cookie_name(rt.settings))
        try:
            async with rt.sessions.begin() as session:
                found = await accounts.who(session, token, now=rt.now())
        except NotSignedIn:
            return auth.sign_in_page(rt, back)
        return Redirect(back or auth.HOME[found.person.role], status_code=303)

    @post("/sign-in", request_max_body_size=ANSWER_MOST)
    async def sign_in(self, rt: NamedDependency[Runtime], request: AnyRequest) -> Response[Any]:
        """Begin a session by a passkey."""
        auth.from_our_own_page(rt, request)
        sent = await typed(request)
        back = auth.safe_back(sent.get("back", ""))
        try:
            async with rt.sessions.begin() as session:
                person = await passkeys.verify(
                    session, rt.settings, Purpose.SIGN_IN, sent.get("answer", ""), now=rt.now()
                )
                key = await accounts.begin(session, person, how="by a passkey", now=rt.now())
        except PasskeyRefused as error:
            await _note_refusal(rt, error, Deed.SIGN_IN_REFUSED)
            return auth.sign_in_page(rt, back, status=error.status, error=error.detail)
        return _begun(rt, person, key, back)

    @get("/enter/{token:str}")
    async def show(self, rt: NamedDependency[Runtime], token: FromPath[str]) -> Response[str]:
        """Whom the link is for, and the buttons that spend it."""
        try:
            async with rt.sessions() as session:
                person = await accounts.invited(session, token, now=rt.now())
                known = await passkeys.of(session, person.id)
        except LinkSpent as error:
            return _spent(rt, error)
        options = ""
        if passkeys.are_possible(rt.settings):
            options = passkeys.ask_to_make(
                rt.settings, person, known, bound=f"link {token}", now=rt.now()
            )
        made = templates.page(
            rt,
            "staff_enter.html",
            token=token,
            name=person.name,
            options=options,
            issuer=oidc_provider.name(rt.settings),
        )
        return auth.with_script(rt, made)

    @post("/enter/{token:str}", request_max_body_size=ANSWER_MOST)
    async def enter(
        self, rt: NamedDependency[Runtime], request: AnyRequest, token: FromPath[str]
    ) -> Response[Any]:
        """Spend the link and begin a session; keep the passkey that was made, if one was."""
        auth.from_our_own_page(rt, request)
        answer = (await typed(request)).get("answer", "")
        try:
            person, key = await _enter(rt, token, answer)
        except LinkSpent as error:
            async with rt.sessions.begin() as session:
                await audit_log.note_stranger(
                    session, Deed.SIGN_IN_REFUSED, about="a link", now=rt.now()
                )
            return _spent(rt, error)
        except PasskeyRefused as error:
            await _note_refusal(rt, error, Deed.SIGN_IN_REFUSED)
            again = f"{error.detail} The link is still good: open it again."
            return templates.page(
                rt, "staff_message.html", status=error.status, title=error.title, detail=again
            )
        return _begun(rt, person, key, "")

    @get("/confirm")
    async def ask_again(
        self,
        rt: NamedDependency[Runtime],
        request: AnyRequest,
        asking: NamedDependency[SignedIn],
    ) -> Response[Any]:
        """A fresh proof, asked for; whoever gave one a moment ago goes on."""
        back = auth.safe_back(request.query_params.get("back", ""))
        if asking.is_proved(rt.now()):
            return Redirect(back or auth.HOME[asking.person.role], status_code=303)
        return await auth.confirm_page(rt, asking, back)

    @post("/confirm", request_max_body_size=ANSWER_MOST)
    async def confirm(
        self,
        rt: NamedDependency[Runtime],
        request: AnyRequest,
        asking: NamedDependency[SignedIn],
    ) -> Response[Any]:
        """Take the proof, if it is of whoever is signed in."""
        sent = await typed(request)
        back = auth.safe_back(sent.get("back", ""))
        try:
            await _confirm(rt, asking, sent.get("answer", ""))
        except PasskeyRefused as error:
            await _note_refusal(rt, error, Deed.CONFIRM_REFUSED)
            return await auth.confirm_page(
                rt, asking, back, status=error.status, error=error.detail
            )
        return Redirect(back or auth.HOME[asking.person.role], status_code=303)

    @post("/leave", request_max_body_size=SMALL)
    async def leave(self, rt: NamedDependency[Runtime], request: AnyRequest) -> Response[Any]:
        """Sign out. Whoever is out already stays out."""
        auth.from_our_own_page(rt, request)
        token = request.cookies.get(auth.cookie_name(rt.settings), "")
        async with rt.sessions.begin() as session:
            await accounts.leave(session, token, now=rt.now())
        gone = auth.cookie(rt.settings, "", lasts=-accounts.SESSION_LASTS)
        return Redirect("/staff/sign-in", status_code=303, cookies=[gone])


async def _enter(rt: Runtime, token: str, answer: str) -> tuple[Staff, str]:
    async with rt.sessions.begin() as session:
        person = await accounts.spend(session, token, now=rt.now())
        if answer:
            await passkeys.make(
                session, rt.settings, person, answer, bound=f"link {token}", now=rt.now()
            )
        how = "by a one-time link"
        return person, await accounts.begin(session, person, how=how, now=rt.now())


async def _confirm(rt: Runtime, asking: SignedIn, answer: str) -> None:
    async with rt.sessions.begin() as session:
        person = await passkeys.verify(
            session, rt.settings, Purpose.CONFIRM, answer, bound=asking.session, now=rt.now()
        )
        if person.id != asking.person.id:
            raise PasskeyRefused("This is a colleague's passkey.", staff_id=person.id)
        await accounts.confirm(session, asking, now=rt.now())


async def _note_refusal(rt: Runtime, error: PasskeyRefused, deed: Deed) -> None:
    """Write down what was not let in; for a passkey that may be copied, call a person."""
    async with rt.sessions.begin() as session:
        if error.staff_id is None:
            await audit_log.note_stranger(session, deed, about="a passkey", now=rt.now())
            return
        person = await session.get_one(Staff, error.staff_id)
        await accounts.note(session, deed, person, reason=error.detail[:200], now=rt.now())
        if isinstance(error, PasskeyCopied):
            await alerts.sound(
                session, AlarmKind.PASSKEY_COPIED, subject=error.staff_id, now=rt.now()
            )


def _begun(rt: Runtime, person: Staff, key: str, back: str) -> Redirect:
    home = back or auth.HOME[person.role]
    return Redirect(home, status_code=303, cookies=[auth.cookie(rt.settings, key)])


def _spent(rt: Runtime, error: LinkSpent) -> Response[str]:
    return templates.page(
        rt, "staff_message.html", status=error.status, title=error.title, detail=error.detail
    )
