"""What we hold of a donor: as a file, and its erasure."""

from typing import Any

import msgspec
from litestar import Controller, Response, get, post
from litestar.di import NamedDependency

from payments.giving import subscriptions
from payments.infra.context import Context
from payments.safety import data_requests
from payments.web import rendering
from payments.web.account import view_models
from payments.web.account.sign_in import CurrentDonor, expired_session_cookie
from payments.web.forms import SMALL_FORM_BYTES


class DataRequestPages(Controller):
    """What we hold of a donor, as a file, and its erasure."""

    path = "/data"

    @get()
    async def show(
        self, ctx: NamedDependency[Context], donor: NamedDependency[CurrentDonor]
    ) -> Response[str]:
        """Show what is held, what is not, and what can be done about it."""
        assert donor.donor_id  # the page is for donors, though it prints nothing of theirs
        return rendering.render(ctx, "account_data.html")

    @get("/file.json")
    async def download(
        self, ctx: NamedDependency[Context], donor: NamedDependency[CurrentDonor]
    ) -> Response[bytes]:
        """Everything we hold of the donor, as JSON."""
        async with ctx.sessions() as session:
            data = await data_requests.export_data(session, donor.donor_id, now=ctx.now())
        return Response(
            msgspec.json.format(msgspec.json.encode(data), indent=2),
            media_type="application/json",
            headers={"content-disposition": 'attachment; filename="data.json"'},
        )

    @get("/erase")
    async def erase_form(
        self, ctx: NamedDependency[Context], donor: NamedDependency[CurrentDonor]
    ) -> Response[str]:
        """Show what erasing does and what it does not."""
        async with ctx.sessions() as session:
            own_subscriptions = await subscriptions.list_for_donor(session, donor.donor_id)
        live = [
            view_models.subscription_view(ctx, subscription)
            for subscription in own_subscriptions
            if subscription.is_live
        ]
        return rendering.render(ctx, "account_erase.html", subscriptions=live)

    @post("/erase", request_max_body_size=SMALL_FORM_BYTES)
    async def erase(
        self, ctx: NamedDependency[Context], donor: NamedDependency[CurrentDonor]
    ) -> Response[Any]:
        """Cancel the live subscriptions, erase the donor, and sign out."""
        erased_at = await data_requests.erase(ctx, donor.donor_id)
        response = rendering.render(
            ctx, "account_erased.html", erased_at=view_models.format_minute(ctx, erased_at)
        )
        response.set_cookie(expired_session_cookie(ctx.settings))
        return response
