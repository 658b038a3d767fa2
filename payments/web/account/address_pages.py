"""Another e-mail address: asked for, and confirmed by the codes of both mailboxes.

The form of the codes carries the address and what we signed: nothing is stored between the two.
"""

from typing import Any

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency

from payments.core.errors import InvalidField, PaymentsError, StripeUnavailable
from payments.infra.context import Context
from payments.safety import address_change
from payments.safety.address_change import AddressRequest
from payments.web import rendering, request_locale
from payments.web.account.sign_in import (
    CurrentDonor,
    expired_session_cookie,
    session_cookie_name,
)
from payments.web.forms import SMALL_FORM_BYTES, AnyRequest, form_data


class AddressPages(Controller):
    """Another e-mail address of a donor."""

    path = "/data/address"

    @get()
    async def address_form(
        self, ctx: NamedDependency[Context], donor: NamedDependency[CurrentDonor]
    ) -> Response[str]:
        """Show the form for another address. The present one is not shown: we do not have it."""
        await address_change.require_changeable(ctx, donor.donor_id)
        return rendering.render(ctx, "account_address.html", address="", error="")

    @post(request_max_body_size=SMALL_FORM_BYTES)
    async def send_codes(
        self,
        ctx: NamedDependency[Context],
        donor: NamedDependency[CurrentDonor],
        request: AnyRequest,
    ) -> Response[str]:
        """Send both codes. The answer is the same whether or not the address is a donor's."""
        address = (await form_data(request)).get("address", "").strip()
        try:
            asked = await address_change.send_codes(
                ctx,
                donor.donor_id,
                _session_token(ctx, request),
                address,
                language=request_locale.current(),
            )
        except InvalidField as error:
            return rendering.render(
                ctx,
                "account_address.html",
                status=error.status,
                address=address,
                error=request_locale.error_message(error),
            )
        return _render_codes(ctx, asked)

    @post("/codes", request_max_body_size=SMALL_FORM_BYTES)
    async def change(
        self,
        ctx: NamedDependency[Context],
        donor: NamedDependency[CurrentDonor],
        request: AnyRequest,
    ) -> Response[Any]:
        """Change the address, if both codes are right, and sign out everywhere."""
        fields = await form_data(request)
        asked = AddressRequest(
            donor.donor_id,
            _session_token(ctx, request),
            fields.get("address", ""),
            fields.get("request", ""),
        )
        try:
            await address_change.change(
                ctx,
                asked,
                old_code=fields.get("old_code", ""),
                new_code=fields.get("new_code", ""),
            )
        except (InvalidField, StripeUnavailable) as error:
            return _render_codes(ctx, asked, error=error)
        response = rendering.render(ctx, "account_address_changed.html")
        response.set_cookie(expired_session_cookie(ctx.settings))
        return response


def _session_token(ctx: Context, request: AnyRequest) -> str:
    return request.cookies.get(session_cookie_name(ctx.settings), "")


def _render_codes(
    ctx: Context, asked: AddressRequest, *, error: PaymentsError | None = None
) -> Response[str]:
    """Return the form for both codes."""
    return rendering.render(
        ctx,
        "account_address_codes.html",
        status=200 if error is None else error.status,
        address=asked.address,
        token=asked.token,
        minutes=int(address_change.CODES_LIFETIME.total_seconds()) // 60,
        error="" if error is None else request_locale.error_message(error),
        wrong_field="" if error is None else (error.field or ""),
    )
