"""Support's pages: find one donor by the address they wrote from, say why, and help them.

A case is open for half an hour, to the colleague who opened it. No page of it holds an address, a
card or an article, and its own address says nothing of whose it is.
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
from payments.core.identifiers import is_row_id, new_row_id, row_id_or_new
from payments.giving.subscription_changes import MAX_PAUSE_MONTHS
from payments.giving.subscriptions import Subscription
from payments.infra.context import Context
from payments.mail.outbox import OutboxMail
from payments.safety import support_cases
from payments.safety.support_cases import CaseReason, CaseView, SubscriptionWithChanges, SupportCase
from payments.staff.accounts import Staff
from payments.web.account import view_models
from payments.web.forms import SMALL_FORM_BYTES, AnyRequest, form_data
from payments.web.staff import auth

SUPPORT_URL = "/support"
TICKET_PATTERN = re.compile(r"[A-Za-z0-9#/-]{0,40}")
INDEFINITELY = "open"
CONFIRMATIONS = {
    "stopped": "The contribution is stopped. Nothing more is charged.",
    "stopping": "The decision to stop is kept. Stripe could not be reached and is asked until it "
    "confirms.",
    "paused": "The contribution is paused.",
    "skipped": "The next charge is skipped.",
    "resumed": "The contribution goes on.",
    "sent": "A sign-in mail is on its way to the donor. It is good for ten minutes, and its code "
    "opens their pages in any browser. More than three in an hour are not sent.",
}
MAIL_STATUS_LABELS = {"waiting": "waits", "sent": "sent", "dropped": "not sent"}


@dataclass(frozen=True, slots=True)
class CaseSubscription:
    """One promise of the case's donor, asked about by the colleague whose case it is."""

    case: SupportCase
    subscription: Subscription
    colleague: Staff


async def current_case(
    ctx: NamedDependency[Context], colleague: NamedDependency[Staff], case_id: FromPath[str]
) -> SupportCase:
    """The case that the address names, for whoever opened it. Raises NotFound."""
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
    """The promise that the address names, if it is the case's donor's. Raises NotFound."""
    if not is_row_id(contribution_id):
        raise NotFound("There is no such contribution.")
    async with ctx.sessions() as session:
        return CaseSubscription(
            case, await support_cases.get_subscription(session, case, contribution_id), colleague
        )


class SupportPages(Controller):
    path = SUPPORT_URL
    include_in_schema = False
    dependencies = {  # noqa: RUF012 - litestar's own
        "case": Provide(current_case),
        "case_subscription": Provide(subscription_of_case),
    }

    @get()
    async def search_form(
        self, ctx: NamedDependency[Context], colleague: NamedDependency[Staff]
    ) -> Response[str]:
        """Who wrote, and why we look."""
        return _render_search(ctx, colleague)

    @post(request_max_body_size=SMALL_FORM_BYTES)
    async def search(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[Any]:
        """Open a case, or say that nobody gave with this address."""
        sent = await form_data(request)
        try:
            reason, ticket = _parse_reason(sent), _parse_ticket(sent)
            case = await support_cases.open_case(
                ctx, colleague, address=sent.get("address", ""), reason=reason, ticket=ticket
            )
        except PaymentsError as error:
            return _render_search(ctx, colleague, sent, error=error)
        if case is None:
            return _render_search(ctx, colleague, sent, not_found=True)
        return Redirect(f"{SUPPORT_URL}/{case.id}", status_code=303)

    @get("/{case_id:str}")
    async def show_case(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
        case: NamedDependency[SupportCase],
    ) -> Response[str]:
        """What the donor promised, gave and was written."""
        return await _render_case(ctx, colleague, case, done=request.query_params.get("done", ""))

    @post("/{case_id:str}/link", request_max_body_size=SMALL_FORM_BYTES)
    async def send_link(
        self,
        ctx: NamedDependency[Context],
        colleague: NamedDependency[Staff],
        case: NamedDependency[SupportCase],
    ) -> Response[Any]:
        """Mail the donor a way to their own pages."""
        await support_cases.send_sign_in_link(ctx, colleague, case)
        return _redirect_done(case, "sent")

    @post("/{case_id:str}/{contribution_id:str}/stop", request_max_body_size=SMALL_FORM_BYTES)
    async def cancel(
        self, ctx: NamedDependency[Context], case_subscription: NamedDependency[CaseSubscription]
    ) -> Response[Any]:
        confirmed = await support_cases.cancel(
            ctx, case_subscription.colleague, case_subscription.subscription
        )
        return _redirect_done(case_subscription.case, "stopped" if confirmed else "stopping")

    @post("/{case_id:str}/{contribution_id:str}/skip", request_max_body_size=SMALL_FORM_BYTES)
    async def skip(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        case_subscription: NamedDependency[CaseSubscription],
    ) -> Response[Any]:
        return await _apply_change(
            ctx,
            request,
            case_subscription,
            lambda sent: support_cases.skip(
                ctx,
                case_subscription.colleague,
                case_subscription.subscription,
                idempotency_key=_idempotency_key(sent),
            ),
            done="skipped",
        )

    @post("/{case_id:str}/{contribution_id:str}/pause", request_max_body_size=SMALL_FORM_BYTES)
    async def pause(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        case_subscription: NamedDependency[CaseSubscription],
    ) -> Response[Any]:
        async def pause(sent: dict[str, str]) -> None:
            months = _parse_months(sent.get("months", ""))
            await support_cases.pause(
                ctx,
                case_subscription.colleague,
                case_subscription.subscription,
                months,
                idempotency_key=_idempotency_key(sent),
            )

        return await _apply_change(ctx, request, case_subscription, pause, done="paused")

    @post("/{case_id:str}/{contribution_id:str}/resume", request_max_body_size=SMALL_FORM_BYTES)
    async def resume(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        case_subscription: NamedDependency[CaseSubscription],
    ) -> Response[Any]:
        return await _apply_change(
            ctx,
            request,
            case_subscription,
            lambda sent: support_cases.resume(
                ctx,
                case_subscription.colleague,
                case_subscription.subscription,
                idempotency_key=_idempotency_key(sent),
            ),
            done="resumed",
        )

    @get("/{case_id:str}/erase")
    async def erase_form(
        self,
        ctx: NamedDependency[Context],
        colleague: NamedDependency[Staff],
        case: NamedDependency[SupportCase],
    ) -> Response[str]:
        """What erasing does, and that nobody can undo it."""
        async with ctx.sessions() as session:
            seen = await support_cases.view_case(session, case)
        live = [
            _subscription_view(ctx, one, seen)
            for one in seen.subscriptions
            if one.subscription.is_live
        ]
        return auth.render(
            ctx,
            "support_erase.html",
            colleague,
            active_url=SUPPORT_URL,
            case=case.id,
            promises=live,
        )

    @post("/{case_id:str}/erase", request_max_body_size=SMALL_FORM_BYTES)
    async def erase(
        self,
        ctx: NamedDependency[Context],
        colleague: NamedDependency[Staff],
        case: NamedDependency[SupportCase],
    ) -> Response[str]:
        """Stop what runs, and forget who it was."""
        erased_at = view_models.format_minute(ctx, await support_cases.erase(ctx, colleague, case))
        return auth.render(
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
    """Do what a form asks, or show the case with what is wrong."""
    try:
        await change(await form_data(request))
    except PaymentsError as error:
        return await _render_case(
            ctx, case_subscription.colleague, case_subscription.case, error=error
        )
    return _redirect_done(case_subscription.case, done)


def _redirect_done(case: SupportCase, done: str) -> Redirect:
    return Redirect(f"{SUPPORT_URL}/{case.id}?done={done}", status_code=303)


# --- what was typed -------------------------------------------------------------------------------


def _parse_reason(sent: dict[str, str]) -> CaseReason:
    try:
        return CaseReason[sent.get("reason", "")]
    except KeyError:
        raise InvalidField("Choose why you look. Nothing was looked up.", field="reason") from None


def _parse_ticket(sent: dict[str, str]) -> str:
    ticket = sent.get("ticket", "").strip()
    if not TICKET_PATTERN.fullmatch(ticket):
        raise InvalidField(
            "The number of a letter has letters, digits, # / and -, at most 40. It is kept for "
            "good, so it is never an address. Nothing was looked up.",
            field="ticket",
        )
    return ticket


def _parse_months(text: str) -> int | None:
    if text == INDEFINITELY:
        return None
    if not re.fullmatch(r"[0-9]{1,2}", text):
        raise InvalidField("Choose how long. Nothing was changed.", field="months")
    return int(text)


def _idempotency_key(sent: dict[str, str]) -> str:
    """The random name of one page, so that pressing its button twice is pressing it once."""
    named = sent.get("intent", "")
    return row_id_or_new(named)


# --- pages ----------------------------------------------------------------------------------------


def _render_search(
    ctx: Context,
    colleague: Staff,
    sent: dict[str, str] | None = None,
    *,
    error: PaymentsError | None = None,
    not_found: bool = False,
) -> Response[str]:
    sent = sent or {}
    chosen = [("", "Choose"), *((one.name, str(one).capitalize()) for one in CaseReason)]
    return auth.render(
        ctx,
        "support.html",
        colleague,
        active_url=SUPPORT_URL,
        status=200 if error is None else error.status,
        address=sent.get("address", ""),
        ticket=sent.get("ticket", ""),
        reasons=auth.select_options(chosen, sent.get("reason", "")),
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
        seen = await support_cases.view_case(session, case)
    return auth.render(
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
        promises=[_subscription_view(ctx, one, seen) for one in seen.subscriptions],
        gifts=[
            view_models.contribution_view(ctx, gift)
            for gift in seen.contributions
            if gift.frequency == "once"
        ],
        payments=[view_models.payment_view(ctx, one) for one in seen.payments],
        mails=[_mail_view(ctx, one) for one in seen.mails],
    )


def _subscription_view(
    ctx: Context, one: SubscriptionWithChanges, case_view: CaseView
) -> dict[str, Any]:
    facts = view_models.subscription_view(
        ctx, one.subscription, one.changes, pending_cancellations=case_view.pending_cancellations
    )
    return {
        **facts,
        "url": one.subscription.contribution_id,
        "changeable": one.subscription.is_live and not facts["stopping"],
        "skippable": one.subscription.current_period_end is not None
        and not one.subscription.is_paused,
        "changes": [view_models.change_view(ctx, change) for change in one.changes],
    }


def _mail_view(ctx: Context, mail: OutboxMail) -> dict[str, str]:
    return {
        "kind": mail.kind.value.replace("_", " ").capitalize(),
        "status": MAIL_STATUS_LABELS.get(mail.status.value, mail.status.value),
        "at": view_models.format_minute(ctx, mail.sent_at or mail.created_at),
    }
