"""Support's pages: find one donor by the address they wrote from, with a reason, and help them.

A case is open for half an hour to the colleague who opened it, and to nobody else. Its pages show
no address, card or article, and its URL says nothing about the donor.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath
from litestar.response import Redirect

from payments.core.errors import InvalidField, NotFound, PaymentsError
from payments.core.identifiers import is_row_id, new_row_id
from payments.giving.change_log import ChangeKind
from payments.giving.subscription_changes import MAX_PAUSE_MONTHS
from payments.giving.subscriptions import Subscription
from payments.infra.context import Context
from payments.safety import support_cases
from payments.safety.support_cases import CaseReason, SupportCase
from payments.staff.accounts import Staff
from payments.web.account import view_models
from payments.web.csrf import require_same_origin
from payments.web.forms import (
    SMALL_FORM_BYTES,
    AnyRequest,
    form_data,
    idempotency_key,
    pause_months,
    select_options,
)
from payments.web.staff import layout
from payments.web.staff.guards import SUPPORT_ROLES, StaffOnly, StepUp
from payments.web.support import case_view

SUPPORT_URL = "/support"
TICKET_PATTERN = re.compile(r"[A-Za-z0-9#/-]{0,40}")
CANCEL_PENDING, LINK_SENT = "cancel_pending", "link_sent"
CONFIRMATIONS = {  # by the `done` of a case's URL
    ChangeKind.CANCELLED: "The contribution is stopped. Nothing more is charged.",
    CANCEL_PENDING: (
        "The decision to stop is stored. Stripe was not reached, and is asked until it confirms."
    ),
    ChangeKind.PAUSED: "The contribution is paused.",
    ChangeKind.SKIPPED: "Your next payment will be skipped.",
    ChangeKind.RESUMED: "The contribution goes on.",
    LINK_SENT: (
        "A sign-in mail is on its way to the donor. It is good for ten minutes, and its code "
        "opens their pages in any browser. More than three in an hour are not sent."
    ),
}


@dataclass(frozen=True, slots=True)
class CaseSubscription:
    """A subscription of the case's donor, and the colleague whose case it is."""

    case: SupportCase
    subscription: Subscription
    colleague: Staff


async def current_case(
    ctx: NamedDependency[Context], colleague: NamedDependency[Staff], case_id: FromPath[str]
) -> SupportCase:
    """Return the case that the path names, for the colleague who opened it. Raises NotFound."""
    if not is_row_id(case_id):
        raise NotFound("This case is closed. Look for the donor again, with a reason.")
    async with ctx.sessions() as session:
        return await support_cases.get_case(session, colleague, case_id, now=ctx.now())


async def subscription_of_case(
    ctx: NamedDependency[Context],
    colleague: NamedDependency[Staff],
    case: NamedDependency[SupportCase],
    contribution_id: FromPath[str],
) -> CaseSubscription:
    """Return the subscription that the path names, if it is the donor's. Raises NotFound."""
    if not is_row_id(contribution_id):
        raise NotFound("There is no such contribution.")
    async with ctx.sessions() as session:
        return CaseSubscription(
            case, await support_cases.get_subscription(session, case, contribution_id), colleague
        )


class SupportPages(Controller):
    """Finding one donor, with a reason, and acting for them."""

    path = SUPPORT_URL
    include_in_schema = False
    guards = [require_same_origin, StaffOnly(SUPPORT_ROLES)]  # noqa: RUF012 - litestar's own
    dependencies = {  # noqa: RUF012 - litestar's own
        "case": Provide(current_case),
        "case_subscription": Provide(subscription_of_case),
    }

    @get()
    async def search_form(
        self, ctx: NamedDependency[Context], colleague: NamedDependency[Staff]
    ) -> Response[str]:
        """Show the form that asks for the donor's address and the reason."""
        return _render_search(ctx, colleague)

    @post(request_max_body_size=SMALL_FORM_BYTES)
    async def search(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[Any]:
        """Open a case, or say that nobody gave with this address."""
        fields = await form_data(request)
        try:
            reason, ticket = _parse_reason(fields), _parse_ticket(fields)
            case = await support_cases.open_case(
                ctx, colleague, address=fields.get("address", ""), reason=reason, ticket=ticket
            )
        except PaymentsError as error:
            return _render_search(ctx, colleague, fields, error=error)
        if case is None:
            return _render_search(ctx, colleague, fields, not_found=True)
        return Redirect(f"{SUPPORT_URL}/{case.id}", status_code=303)

    @get("/{case_id:str}")
    async def show_case(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
        case: NamedDependency[SupportCase],
    ) -> Response[str]:
        """Show the donor's subscriptions, payments and mails."""
        return await _render_case(ctx, colleague, case, done=request.query_params.get("done", ""))

    @post("/{case_id:str}/link", request_max_body_size=SMALL_FORM_BYTES)
    async def send_link(
        self,
        ctx: NamedDependency[Context],
        colleague: NamedDependency[Staff],
        case: NamedDependency[SupportCase],
    ) -> Response[Any]:
        """Mail the donor a link to their own account."""
        await support_cases.send_sign_in_link(ctx, colleague, case)
        return _redirect_done(case, LINK_SENT)

    @post("/{case_id:str}/{contribution_id:str}/stop", request_max_body_size=SMALL_FORM_BYTES)
    async def cancel(
        self, ctx: NamedDependency[Context], case_subscription: NamedDependency[CaseSubscription]
    ) -> Response[Any]:
        """Cancel at once. If Stripe does not answer, it is asked until it confirms."""
        is_confirmed = await support_cases.cancel(
            ctx, case_subscription.colleague, case_subscription.subscription
        )
        return _redirect_done(
            case_subscription.case, ChangeKind.CANCELLED if is_confirmed else CANCEL_PENDING
        )

    @post("/{case_id:str}/{contribution_id:str}/skip", request_max_body_size=SMALL_FORM_BYTES)
    async def skip(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        case_subscription: NamedDependency[CaseSubscription],
    ) -> Response[Any]:
        """Skip the next payment."""
        return await _apply_change(
            ctx,
            request,
            case_subscription,
            lambda fields: support_cases.skip(
                ctx,
                case_subscription.colleague,
                case_subscription.subscription,
                idempotency_key=idempotency_key(fields),
            ),
            done=ChangeKind.SKIPPED,
        )

    @post("/{case_id:str}/{contribution_id:str}/pause", request_max_body_size=SMALL_FORM_BYTES)
    async def pause(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        case_subscription: NamedDependency[CaseSubscription],
    ) -> Response[Any]:
        """Pause for some months, or until the donor resumes."""

        async def pause_as_asked(fields: dict[str, str]) -> None:
            await support_cases.pause(
                ctx,
                case_subscription.colleague,
                case_subscription.subscription,
                pause_months(fields),
                idempotency_key=idempotency_key(fields),
            )

        return await _apply_change(
            ctx, request, case_subscription, pause_as_asked, done=ChangeKind.PAUSED
        )

    @post("/{case_id:str}/{contribution_id:str}/resume", request_max_body_size=SMALL_FORM_BYTES)
    async def resume(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        case_subscription: NamedDependency[CaseSubscription],
    ) -> Response[Any]:
        """End a pause."""
        return await _apply_change(
            ctx,
            request,
            case_subscription,
            lambda fields: support_cases.resume(
                ctx,
                case_subscription.colleague,
                case_subscription.subscription,
                idempotency_key=idempotency_key(fields),
            ),
            done=ChangeKind.RESUMED,
        )

    @get("/{case_id:str}/erase", guards=[StepUp()])
    async def erase_form(
        self,
        ctx: NamedDependency[Context],
        colleague: NamedDependency[Staff],
        case: NamedDependency[SupportCase],
    ) -> Response[str]:
        """Show what erasing does, and that nobody can undo it."""
        async with ctx.sessions() as session:
            viewed = await support_cases.view_case(session, case, now=ctx.now())
        live = [
            case_view.subscription_view(ctx, entry, viewed)
            for entry in viewed.subscriptions
            if entry.subscription.is_live
        ]
        return layout.render(
            ctx,
            "support_erase.html",
            colleague,
            active_url=SUPPORT_URL,
            case=case.id,
            subscriptions=live,
        )

    @post("/{case_id:str}/erase", request_max_body_size=SMALL_FORM_BYTES, guards=[StepUp()])
    async def erase(
        self,
        ctx: NamedDependency[Context],
        colleague: NamedDependency[Staff],
        case: NamedDependency[SupportCase],
    ) -> Response[str]:
        """Cancel the live subscriptions and erase the donor."""
        erased_at = view_models.format_minute(ctx, await support_cases.erase(ctx, colleague, case))
        return layout.render(
            ctx, "support_erased.html", colleague, active_url=SUPPORT_URL, erased_at=erased_at
        )


async def _apply_change(
    ctx: Context,
    request: AnyRequest,
    case_subscription: CaseSubscription,
    change: Callable[[dict[str, str]], Awaitable[object]],
    *,
    done: str,
) -> Response[Any]:
    """Apply the change that a form asks for, or show the case with what is wrong."""
    try:
        await change(await form_data(request))
    except PaymentsError as error:
        return await _render_case(
            ctx, case_subscription.colleague, case_subscription.case, error=error
        )
    return _redirect_done(case_subscription.case, done)


def _redirect_done(case: SupportCase, done: str) -> Redirect:
    return Redirect(f"{SUPPORT_URL}/{case.id}?done={done}", status_code=303)


# --- forms ----------------------------------------------------------------------------------------


def _parse_reason(fields: dict[str, str]) -> CaseReason:
    try:
        return CaseReason[fields.get("reason", "")]
    except KeyError:
        raise InvalidField("Choose why you look. Nothing was looked up.", field="reason") from None


def _parse_ticket(fields: dict[str, str]) -> str:
    ticket = fields.get("ticket", "").strip()
    if not TICKET_PATTERN.fullmatch(ticket):
        raise InvalidField(
            "The number of a letter has letters, digits, # / and -, at most 40. It is stored "
            "for good, so it is never an address. Nothing was looked up.",
            field="ticket",
        )
    return ticket


# --- pages ----------------------------------------------------------------------------------------


def _render_search(
    ctx: Context,
    colleague: Staff,
    fields: dict[str, str] | None = None,
    *,
    error: PaymentsError | None = None,
    not_found: bool = False,
) -> Response[str]:
    fields = fields or {}
    chosen = [("", "Choose"), *((one.name, str(one).capitalize()) for one in CaseReason)]
    return layout.render(
        ctx,
        "support.html",
        colleague,
        active_url=SUPPORT_URL,
        status=200 if error is None else error.status,
        address=fields.get("address", ""),
        ticket=fields.get("ticket", ""),
        reasons=select_options(chosen, fields.get("reason", "")),
        error="" if error is None else error.detail,
        field="" if error is None else error.field or "",
        nobody=not_found,
        most=support_cases.MAX_SEARCHES_PER_HOUR,
    )


async def _render_case(
    ctx: Context,
    colleague: Staff,
    case: SupportCase,
    *,
    done: str = "",
    error: PaymentsError | None = None,
) -> Response[str]:
    async with ctx.sessions() as session:
        viewed = await support_cases.view_case(session, case, now=ctx.now())
    return layout.render(
        ctx,
        "support_case.html",
        colleague,
        active_url=SUPPORT_URL,
        status=200 if error is None else error.status,
        case=case.id,
        until=case.expires_at.astimezone(ctx.settings.accounting_zoneinfo).strftime("%H:%M"),
        zone=ctx.settings.accounting_zone,
        done=CONFIRMATIONS.get(done, ""),
        error="" if error is None else error.detail,
        intent=new_row_id(),
        lengths=range(1, MAX_PAUSE_MONTHS + 1),
        subscriptions=[
            case_view.subscription_view(ctx, entry, viewed) for entry in viewed.subscriptions
        ],
        payments=[
            view_models.payment_view(ctx, payment)
            for payment in viewed.payments[: support_cases.SHOWN_PAYMENTS]
        ],
        has_more_payments=len(viewed.payments) > support_cases.SHOWN_PAYMENTS,
        mails=[
            case_view.mail_view(ctx, mail) for mail in viewed.mails[: support_cases.SHOWN_MAILS]
        ],
        has_more_mails=len(viewed.mails) > support_cases.SHOWN_MAILS,
    )
