"""Support's pages: find one donor by the address they wrote from, say why, and help them.

A case is open for half an hour, to the colleague who opened it. No page of it holds an address, a
card or an article, and its own address says nothing of whose it is.
"""

import re
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath
from litestar.response import Redirect

from payments.core.errors import InvalidField, NotFound, PaymentsError
from payments.giving.subscription_changes import LONGEST_PAUSE
from payments.giving.subscriptions import Subscription
from payments.infra.context import Runtime
from payments.mail.outbox import Message
from payments.safety import support_cases
from payments.safety.support_cases import Promised, Reason, Seen, SupportCase
from payments.staff.accounts import Staff
from payments.web.account import view_models
from payments.web.forms import SMALL, AnyRequest, typed
from payments.web.staff import auth

PAGE = "/support"
OUR_ID = re.compile(r"[0-9a-f]{32}")
TICKET = re.compile(r"[A-Za-z0-9#/-]{0,40}")
UNTIL_RESUMED = "open"
DONE = {
    "stopped": "The contribution is stopped. Nothing more is charged.",
    "stopping": "The decision to stop is kept. Stripe could not be reached and is asked until it "
    "confirms.",
    "paused": "The contribution is paused.",
    "skipped": "The next charge is skipped.",
    "resumed": "The contribution goes on.",
    "sent": "A sign-in mail is on its way to the donor. It is good for ten minutes, and its code "
    "opens their pages in any browser. More than three in an hour are not sent.",
}
MAILS = {"waiting": "waits", "sent": "sent", "dropped": "not sent"}


@dataclass(frozen=True, slots=True)
class Promise:
    """One promise of the case's donor, asked about by the colleague whose case it is."""

    case: SupportCase
    row: Subscription
    person: Staff


async def open_case(
    rt: NamedDependency[Runtime], colleague: NamedDependency[Staff], case_id: FromPath[str]
) -> SupportCase:
    """The case that the address names, for whoever opened it. Raises NotFound."""
    if not OUR_ID.fullmatch(case_id):
        raise NotFound("This case is closed. Look for the donor again, with a reason.")
    async with rt.sessions() as session:
        return await support_cases.case_of(session, colleague, case_id, now=rt.now())


async def promise_of_case(
    rt: NamedDependency[Runtime],
    colleague: NamedDependency[Staff],
    case: NamedDependency[SupportCase],
    contribution_id: FromPath[str],
) -> Promise:
    """The promise that the address names, if it is the case's donor's. Raises NotFound."""
    if not OUR_ID.fullmatch(contribution_id):
        raise NotFound("There is no such contribution.")
    async with rt.sessions() as session:
        return Promise(
            case, await support_cases.promise_of(session, case, contribution_id), colleague
        )


class SupportPages(Controller):
    path = PAGE
    include_in_schema = False
    dependencies = {  # noqa: RUF012 - litestar's own
        "case": Provide(open_case),
        "promise": Provide(promise_of_case),
    }

    @get()
    async def ask(
        self, rt: NamedDependency[Runtime], colleague: NamedDependency[Staff]
    ) -> Response[str]:
        """Who wrote, and why we look."""
        return _ask(rt, colleague)

    @post(request_max_body_size=SMALL)
    async def find(
        self,
        rt: NamedDependency[Runtime],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[Any]:
        """Open a case, or say that nobody gave with this address."""
        sent = await typed(request)
        try:
            reason, ticket = _reason(sent), _ticket(sent)
            case = await support_cases.open_case(
                rt, colleague, address=sent.get("address", ""), reason=reason, ticket=ticket
            )
        except PaymentsError as error:
            return _ask(rt, colleague, sent, error=error)
        if case is None:
            return _ask(rt, colleague, sent, nobody=True)
        return Redirect(f"{PAGE}/{case.id}", status_code=303)

    @get("/{case_id:str}")
    async def show(
        self,
        rt: NamedDependency[Runtime],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
        case: NamedDependency[SupportCase],
    ) -> Response[str]:
        """What the donor promised, gave and was written."""
        return await _case(rt, colleague, case, done=request.query_params.get("done", ""))

    @post("/{case_id:str}/link", request_max_body_size=SMALL)
    async def send_link(
        self,
        rt: NamedDependency[Runtime],
        colleague: NamedDependency[Staff],
        case: NamedDependency[SupportCase],
    ) -> Response[Any]:
        """Mail the donor a way to their own pages."""
        await support_cases.send_link(rt, colleague, case)
        return _back(case, "sent")

    @post("/{case_id:str}/{contribution_id:str}/stop", request_max_body_size=SMALL)
    async def stop(
        self, rt: NamedDependency[Runtime], promise: NamedDependency[Promise]
    ) -> Response[Any]:
        confirmed = await support_cases.stop(rt, promise.person, promise.row)
        return _back(promise.case, "stopped" if confirmed else "stopping")

    @post("/{case_id:str}/{contribution_id:str}/skip", request_max_body_size=SMALL)
    async def skip(
        self,
        rt: NamedDependency[Runtime],
        request: AnyRequest,
        promise: NamedDependency[Promise],
    ) -> Response[Any]:
        return await _change(
            rt,
            request,
            promise,
            lambda sent: support_cases.skip(rt, promise.person, promise.row, intent=_intent(sent)),
            done="skipped",
        )

    @post("/{case_id:str}/{contribution_id:str}/pause", request_max_body_size=SMALL)
    async def pause(
        self,
        rt: NamedDependency[Runtime],
        request: AnyRequest,
        promise: NamedDependency[Promise],
    ) -> Response[Any]:
        async def pause(sent: dict[str, str]) -> None:
            months = _months(sent.get("months", ""))
            await support_cases.pause(rt, promise.person, promise.row, months, intent=_intent(sent))

        return await _change(rt, request, promise, pause, done="paused")

    @post("/{case_id:str}/{contribution_id:str}/resume", request_max_body_size=SMALL)
    async def resume(
        self,
        rt: NamedDependency[Runtime],
        request: AnyRequest,
        promise: NamedDependency[Promise],
    ) -> Response[Any]:
        return await _change(
            rt,
            request,
            promise,
            lambda sent: support_cases.resume(
                rt, promise.person, promise.row, intent=_intent(sent)
            ),
            done="resumed",
        )

    @get("/{case_id:str}/erase")
    async def ask_to_erase(
        self,
        rt: NamedDependency[Runtime],
        colleague: NamedDependency[Staff],
        case: NamedDependency[SupportCase],
    ) -> Response[str]:
        """What erasing does, and that nobody can undo it."""
        async with rt.sessions() as session:
            seen = await support_cases.look(session, case)
        live = [_promise(rt, one, seen) for one in seen.promises if one.promise.is_live]
        return auth.page(
            rt, "support_erase.html", colleague, here=PAGE, case=case.id, promises=live
        )

    @post("/{case_id:str}/erase", request_max_body_size=SMALL)
    async def erase(
        self,
        rt: NamedDependency[Runtime],
        colleague: NamedDependency[Staff],
        case: NamedDependency[SupportCase],
    ) -> Response[str]:
        """Stop what runs, and forget who it was."""
        erased_at = view_models.minute(rt, await support_cases.erase(rt, colleague, case))
        return auth.page(rt, "support_erased.html", colleague, here=PAGE, erased_at=erased_at)


async def _change(
    rt: Runtime,
    request: AnyRequest,
    promise: Promise,
    change: Callable[[dict[str, str]], Awaitable[object]],
    *,
    done: str,
) -> Response[Any]:
    """Do what a form asks, or show the case with what is wrong."""
    try:
        await change(await typed(request))
    except PaymentsError as error:
        return await _case(rt, promise.person, promise.case, error=error)
    return _back(promise.case, done)


def _back(case: SupportCase, done: str) -> Redirect:
    return Redirect(f"{PAGE}/{case.id}?done={done}", status_code=303)


# --- what was typed -------------------------------------------------------------------------------


def _reason(sent: dict[str, str]) -> Reason:
    try:
        return Reason[sent.get("reason", "")]
    except KeyError:
        raise InvalidField("Choose why you look. Nothing was looked up.", field="reason") from None


def _ticket(sent: dict[str, str]) -> str:
    ticket = sent.get("ticket", "").strip()
    if not TICKET.fullmatch(ticket):
        raise InvalidField(
            "The number of a letter has letters, digits, # / and -, at most 40. It is kept for "
            "good, so it is never an address. Nothing was looked up.",
            field="ticket",
        )
    return ticket


def _months(text: str) -> int | None:
    if text == UNTIL_RESUMED:
        return None
    if not re.fullmatch(r"[0-9]{1,2}", text):
        raise InvalidField("Choose how long. Nothing was changed.", field="months")
    return int(text)


def _intent(sent: dict[str, str]) -> str:
    """The random name of one page, so that pressing its button twice is pressing it once."""
    named = sent.get("intent", "")
    return named if OUR_ID.fullmatch(named) else secrets.token_hex(16)


# --- pages ----------------------------------------------------------------------------------------


def _ask(
    rt: Runtime,
    colleague: Staff,
    sent: dict[str, str] | None = None,
    *,
    error: PaymentsError | None = None,
    nobody: bool = False,
) -> Response[str]:
    sent = sent or {}
    chosen = [("", "Choose"), *((one.name, str(one).capitalize()) for one in Reason)]
    return auth.page(
        rt,
        "support.html",
        colleague,
        here=PAGE,
        status=200 if error is None else error.status,
        address=sent.get("address", ""),
        ticket=sent.get("ticket", ""),
        reasons=auth.options(chosen, sent.get("reason", "")),
        error="" if error is None else error.detail,
        field="" if error is None else error.field or "",
        nobody=nobody,
        most=support_cases.MOST,
    )


async def _case(
    rt: Runtime,
    colleague: Staff,
    case: SupportCase,
    *,
    done: str = "",
    error: PaymentsError | None = None,
) -> Response[str]:
    async with rt.sessions() as session:
        seen = await support_cases.look(session, case)
    return auth.page(
        rt,
        "support_case.html",
        colleague,
        here=PAGE,
        status=200 if error is None else error.status,
        case=case.id,
        until=case.expires_at.astimezone(rt.settings.zone).strftime("%H:%M"),
        zone=rt.settings.accounting_zone,
        done=DONE.get(done, ""),
        error="" if error is None else error.detail,
        intent=secrets.token_hex(16),
        lengths=range(1, LONGEST_PAUSE + 1),
        promises=[_promise(rt, one, seen) for one in seen.promises],
        gifts=[view_models.gift_facts(rt, gift) for gift in seen.gifts if gift.frequency == "once"],
        payments=[view_models.payment_facts(rt, one) for one in seen.payments],
        mails=[_mail(rt, one) for one in seen.mails],
    )


def _promise(rt: Runtime, one: Promised, seen: Seen) -> dict[str, Any]:
    facts = view_models.promise_facts(rt, one.promise, one.changes, stopping=seen.stopping)
    return {
        **facts,
        "url": one.promise.contribution_id,
        "changeable": one.promise.is_live and not facts["stopping"],
        "skippable": one.promise.renews_at is not None and not one.promise.pauses,
        "changes": [view_models.change_facts(rt, change) for change in one.changes],
    }


def _mail(rt: Runtime, mail: Message) -> dict[str, str]:
    return {
        "kind": mail.kind.value.replace("_", " ").capitalize(),
        "status": MAILS.get(mail.status.value, mail.status.value),
        "at": view_models.minute(rt, mail.sent_at or mail.created_at),
    }
