"""What we hold about a donor: as a file, and its erasure."""

from typing import Any

import msgspec
from litestar import Controller, Response, get, post
from litestar.di import NamedDependency

from payments.giving import subscriptions
from payments.infra.context import Runtime
from payments.safety import data_requests
from payments.web import templates
from payments.web.account import view_models
from payments.web.account.sign_in import SignedIn, no_session
from payments.web.forms import SMALL


class OwnData(Controller):
    path = "/data"

    @get()
    async def show(
        self, rt: NamedDependency[Runtime], donor: NamedDependency[SignedIn]
    ) -> Response[str]:
        """What is held, what is not, and what can be done about it."""
        assert donor.donor_id
        return templates.page(rt, "manage_data.html")

    @get("/file.json")
    async def download(
        self, rt: NamedDependency[Runtime], donor: NamedDependency[SignedIn]
    ) -> Response[bytes]:
        """Everything we hold about the donor who asks."""
        async with rt.sessions() as session:
            held = await data_requests.held(session, donor.donor_id)
        return Response(
            msgspec.json.format(msgspec.json.encode(held), indent=2),
            media_type="application/json",
            headers={"content-disposition": 'attachment; filename="data.json"'},
        )

    @get("/erase")
    async def ask(
        self, rt: NamedDependency[Runtime], donor: NamedDependency[SignedIn]
    ) -> Response[str]:
        """What erasing does and what it does not."""
        async with rt.sessions() as session:
            theirs = await subscriptions.of_donor(session, donor.donor_id)
        live = [view_models.promise_facts(rt, promise) for promise in theirs if promise.is_live]
        return templates.page(rt, "manage_erase.html", promises=live)

    @post("/erase", request_max_body_size=SMALL)
    async def erase(
        self, rt: NamedDependency[Runtime], donor: NamedDependency[SignedIn]
    ) -> Response[Any]:
        """Stop what runs, forget who it was, and sign out."""
        erased_at = await data_requests.erase(rt, donor.donor_id)
        answer = templates.page(
            rt, "manage_erased.html", erased_at=view_models.minute(rt, erased_at)
        )
        answer.set_cookie(no_session(rt.settings))
        return answer
