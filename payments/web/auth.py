"""Staff sign in by a one-time link. Opening it shows a button; pressing the button spends it."""

from typing import Any

from litestar import Controller, Request, Response, get, post
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from payments import staff
from payments.errors import LinkSpent
from payments.runtime import Runtime
from payments.settings import Settings
from payments.staff import SESSION_LASTS, Staff
from payments.web import pages


def cookie_name(settings: Settings) -> str:
    """`__Host-` needs https, which the demo on this machine has not."""
    return "__Host-staff" if settings.secure else "staff"


async def signed_in(rt: NamedDependency[Runtime], request: Request[Any, Any, Any]) -> Staff:
    """The colleague who asks, or NotSignedIn. A dependency of every page for staff."""
    async with rt.sessions() as session:
        token = request.cookies.get(cookie_name(rt.settings))
        return await staff.who(session, token, now=rt.now())


class StaffDoor(Controller):
    path = "/staff/enter/{token:str}"
    include_in_schema = False

    @get()
    async def show(self, rt: NamedDependency[Runtime], token: FromPath[str]) -> Response[str]:
        """Whom the link is for, and the button that spends it."""
        async with rt.sessions() as session:
            try:
                person = await staff.invited(session, token, now=rt.now())
            except LinkSpent as error:
                return _spent(rt, error)
        return pages.page(rt, "staff_enter.html", token=token, name=person.name)

    @post(request_max_body_size=4096)
    async def enter(self, rt: NamedDependency[Runtime], token: FromPath[str]) -> Response[Any]:
        """Spend the link and begin a session."""
        try:
            async with rt.sessions.begin() as session:
                key = await staff.enter(session, token, now=rt.now())
        except LinkSpent as error:
            return _spent(rt, error)
        return Redirect(
            "/finance",
            status_code=303,
            cookies=[
                Cookie(
                    key=cookie_name(rt.settings),
                    value=key,
                    path="/",
                    httponly=True,
                    secure=rt.settings.secure,
                    samesite="strict",
                    max_age=int(SESSION_LASTS.total_seconds()),
                )
            ],
        )


def _spent(rt: Runtime, error: LinkSpent) -> Response[str]:
    return pages.page(
        rt, "staff_message.html", status=error.status, title=error.title, detail=error.detail
    )
