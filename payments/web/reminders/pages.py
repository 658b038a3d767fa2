"""Remind me later: the form, the calendar file, and the pages that mails link to.

Every address gets the same answer. Opening a link changes nothing; only the button of its page
does, and cancelling works with one POST from a mail program, without signing in (RFC 8058).
"""

import contextlib
from dataclasses import replace
from typing import Any

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from payments.core import ics
from payments.core.errors import InvalidField, LinkInvalid, PaymentsError, Unauthenticated
from payments.core.frequency import Frequency
from payments.giving import campaigns
from payments.infra.context import Context
from payments.risk import form_limit
from payments.risk.rate_limit import ProofOfWorkRequired
from payments.risk.request_context import RequestContext
from payments.signups import address_vault, reminder_links, reminder_stats, reminders
from payments.signups.reminder_stats import ReminderStep
from payments.signups.suppression import SuppressionReason
from payments.web import csrf, forms, rendering, request_locale, risk_check
from payments.web.account import sign_in
from payments.web.donate import form as donate_form
from payments.web.donate.form import FormData
from payments.web.forms import SMALL_FORM_BYTES, AnyRequest
from payments.web.reminders import schedule_form, sign_up


def _on_link_invalid(request: AnyRequest, error: LinkInvalid) -> Response[str]:
    """Return one page for every link that is used, expired, incomplete or guessed."""
    ctx: Context = request.app.state.ctx
    return rendering.render(ctx, "remind_link_invalid.html", status=error.status)


class ReminderPages(Controller):
    """The form, and the pages that mails link to."""

    path = "/remind"
    include_in_schema = False
    exception_handlers = {LinkInvalid: _on_link_invalid}  # noqa: RUF012 - litestar's

    @get()
    async def show(self, ctx: NamedDependency[Context], request: AnyRequest) -> Response[str]:
        """Show the form, filled in by the link that led here."""
        return _render_form(ctx, FormData(dict(request.query_params.items())))

    @post("/with", request_max_body_size=donate_form.MAX_FORM_BYTES)
    async def prefilled(self, ctx: NamedDependency[Context], request: AnyRequest) -> Response[str]:
        """Show the form, filled in by the donation form, which was sent here instead."""
        typed = FormData(await forms.form_data(request))
        request_locale.override(typed["locale"])
        fields: dict[str, str] = {}
        with contextlib.suppress(PaymentsError, ValueError):
            frequency = Frequency(typed["frequency"])
            amount = donate_form.read_amount(ctx, typed, frequency)
            fields = schedule_form.fields_of_contribution(frequency, amount)
        return _render_form(ctx, FormData(fields))

    @post(request_max_body_size=SMALL_FORM_BYTES)
    async def submit(self, ctx: NamedDependency[Context], request: AnyRequest) -> Response[str]:
        """Store the reminder. Every address gets one answer, unless its owner was verified."""
        typed = FormData(await forms.form_data(request))
        form_id = forms.idempotency_key(typed.values)
        request_context = await risk_check.request_context_for_mail(
            ctx, request, typed.values, form_id, form_limit.SIGN_UP
        )
        try:
            schedule = schedule_form.parse_schedule(ctx, typed)
            address = address_vault.validated_email(typed["address"])
            hashes = await _hashes_if_owned(ctx, request, request_context, typed["code"], address)
            is_owner = bool(hashes)
            if is_owner:
                async with ctx.sessions.begin() as session:
                    reminder_id = await reminders.sign_up_verified(
                        session,
                        ctx.settings,
                        schedule,
                        address=address,
                        hashes=hashes,
                        now=ctx.now(),
                    )
            else:
                await sign_up.sign_up(ctx, request_context, schedule, address)
        except ProofOfWorkRequired as error:
            return await risk_check.render_challenge(
                ctx, request_context, typed.values, form_id, error, action="/remind"
            )
        except PaymentsError as error:
            return _render_form(ctx, typed, error)
        send_dates = schedule_form.send_dates_context(schedule)
        if is_owner:
            code = reminder_links.sign_code(ctx, reminder_id, hashes[0])
            return rendering.render(ctx, "remind_confirmed.html", code=code, **send_dates)
        return rendering.render(ctx, "remind_confirmation_sent.html", **send_dates)

    @post("/calendar", request_max_body_size=SMALL_FORM_BYTES)
    async def calendar(self, ctx: NamedDependency[Context], request: AnyRequest) -> Response[Any]:
        """Return a calendar file instead of mails. An address that was typed is not read."""
        typed = FormData(await forms.form_data(request))
        try:
            schedule = schedule_form.parse_schedule(ctx, typed)
        except PaymentsError as error:
            return _render_form(ctx, typed, error)
        async with ctx.sessions.begin() as session:
            await reminder_stats.record_step(
                session, ctx.settings, ReminderStep.CALENDAR, now=ctx.now()
            )
        contribution = schedule_form.intended_contribution(schedule)
        return Response(
            ics.reminder_ics(
                schedule.first_send_on,
                months=schedule.interval_months,
                link=reminder_links.return_link(ctx.settings, contribution, schedule.language),
                locale=schedule.language,
                now=ctx.now(),
            ),
            media_type="text/calendar",
            headers={"content-disposition": 'attachment; filename="note.ics"'},
        )

    @get("/confirm/{signed:str}")
    async def confirm_form(
        self, ctx: NamedDependency[Context], signed: FromPath[str]
    ) -> Response[str]:
        """Show the schedule, and a button, which programs that open links do not press."""
        reminder_id = reminder_links.parse_confirm_link(ctx, signed)
        async with ctx.sessions() as session:
            reminder = await reminders.get_confirmable(session, reminder_id, now=ctx.now())
        code = reminder_links.sign_code(ctx, reminder.id, reminder.address_hash or b"")
        return rendering.render(
            ctx,
            "remind_confirm.html",
            signed=signed,
            code=code,
            done=reminder.verified,
            **schedule_form.send_dates_context(reminder),
        )

    @post("/confirm/{signed:str}", request_max_body_size=SMALL_FORM_BYTES)
    async def confirm(self, ctx: NamedDependency[Context], signed: FromPath[str]) -> Response[str]:
        """Confirm the reminder."""
        reminder = await reminders.confirm(ctx, reminder_links.parse_confirm_link(ctx, signed))
        return rendering.render(
            ctx,
            "remind_confirmed.html",
            code=reminder_links.sign_code(ctx, reminder.id, reminder.address_hash or b""),
            **schedule_form.send_dates_context(reminder),
        )

    @get("/stop/{code:str}")
    async def cancel_form(
        self, ctx: NamedDependency[Context], code: FromPath[str]
    ) -> Response[str]:
        """Show the button that cancels a reminder."""
        reminder_links.parse_code(ctx, code)
        return rendering.render(ctx, "remind_cancel.html", code=code, done=False)

    @post("/stop/{code:str}", request_max_body_size=SMALL_FORM_BYTES)
    async def cancel(self, ctx: NamedDependency[Context], code: FromPath[str]) -> Response[str]:
        """Cancel a reminder, from our page or with one click in a mail program."""
        reminder_id, _address_hash = reminder_links.parse_code(ctx, code)
        async with ctx.sessions.begin() as session:
            await reminders.cancel(session, ctx.settings, reminder_id, now=ctx.now())
        return rendering.render(ctx, "remind_cancel.html", code=code, done=True)

    @post("/reactivate/{code:str}", request_max_body_size=SMALL_FORM_BYTES)
    async def reactivate(
        self, ctx: NamedDependency[Context], request: AnyRequest, code: FromPath[str]
    ) -> Response[str]:
        """Take a cancellation back, with the address of its mail. One answer for every address."""
        reminder_id, address_hash = reminder_links.parse_code(ctx, code)
        address = (await forms.form_data(request)).get("address", "")
        try:
            hashes = await address_vault.address_hashes(ctx.settings, address)
            async with ctx.sessions.begin() as session:
                await reminders.reactivate(
                    session,
                    ctx.settings,
                    reminder_id,
                    address_hash=address_hash,
                    address=address,
                    hashes=hashes,
                    now=ctx.now(),
                )
        except InvalidField as error:
            return rendering.render(
                ctx,
                "remind_cancel.html",
                status=422,
                code=code,
                done=True,
                error=schedule_form.error_message(error),
            )
        return rendering.render(ctx, "remind_reactivated.html")

    @get("/again/{code:str}")
    async def reschedule(self, ctx: NamedDependency[Context], code: FromPath[str]) -> Response[str]:
        """Show the form to choose another day. The mail's code makes a confirmation needless."""
        reminder_id, _address_hash = reminder_links.parse_code(ctx, code)
        async with ctx.sessions() as session:
            reminder = await reminders.get(session, reminder_id)
        fields = {} if reminder is None else schedule_form.fields_of_reminder(reminder)
        return _render_form(ctx, FormData({"code": code, **fields}))

    @get("/never/{signed:str}")
    async def unsubscribe_form(
        self, ctx: NamedDependency[Context], signed: FromPath[str]
    ) -> Response[str]:
        """Show the button that suppresses an address."""
        reminder_links.parse_unsubscribe_link(ctx, signed)
        return rendering.render(ctx, "remind_unsubscribe.html", signed=signed, done=False)

    @post("/never/{signed:str}", request_max_body_size=SMALL_FORM_BYTES)
    async def unsubscribe_all(
        self, ctx: NamedDependency[Context], signed: FromPath[str]
    ) -> Response[str]:
        """Suppress an address, whoever types it from now on."""
        address_hash = reminder_links.parse_unsubscribe_link(ctx, signed)
        async with ctx.sessions.begin() as session:
            await reminders.suppress_address(
                session,
                ctx.settings,
                [address_hash],
                SuppressionReason.UNSUBSCRIBED,
                now=ctx.now(),
            )
        return rendering.render(ctx, "remind_unsubscribe.html", signed=signed, done=True)


def _render_form(
    ctx: Context, typed: FormData, error: PaymentsError | None = None
) -> Response[str]:
    errors = {} if error is None else {error.field or "": schedule_form.error_message(error)}
    return rendering.render(
        ctx,
        "remind.html",
        status=200 if error is None else error.status,
        **schedule_form.form_context(ctx, typed, errors=errors),
    )


async def _hashes_if_owned(
    ctx: Context, request: AnyRequest, request_context: RequestContext, code: str, address: str
) -> list[bytes]:
    """Return the hashes of an address if the sender holds the code of a mail to it, or is signed in
    as its donor; none for anybody else, for whom it is not hashed unless the limits allow it.

    Whoever holds either has limits as for a sign-in. Raises ProofOfWorkRequired.
    """
    address_hash, donor_id = b"", ""
    if code:
        try:
            address_hash = reminder_links.parse_code(ctx, code)[1]
        except LinkInvalid:
            return []
    else:
        if not csrf.is_same_origin(request):  # its form has no guard: most readers have no session
            return []
        try:
            donor_id = (await sign_in.current_donor(ctx, request)).donor_id
        except Unauthenticated:
            return []
    await form_limit.use_share(ctx, replace(request_context, purpose=form_limit.OWN_MAILBOX))
    hashes = await address_vault.address_hashes(ctx.settings, address)
    if code:
        return hashes if address_hash in hashes else []
    async with ctx.sessions() as session:
        is_owner = await reminders.is_address_of_donor(session, hashes, donor_id)
    return hashes if is_owner else []


@get("/back/{packed:str}", include_in_schema=False)
async def return_from_mail(ctx: NamedDependency[Context], packed: FromPath[str]) -> Response[str]:
    """Show the donation form, filled in by the link of a reminder. Counted by the month."""
    async with ctx.sessions.begin() as session:
        await reminder_stats.record_step(session, ctx.settings, ReminderStep.OPENED, now=ctx.now())
    params = {"campaign": campaigns.REMINDER}
    if (contribution := reminder_links.parse_prefill(packed)) is not None:
        params |= schedule_form.fields_of_contribution(*contribution)
    typed = donate_form.prefill(ctx, FormData(params))
    return rendering.render(ctx, "donate.html", **donate_form.form_context(ctx, typed, errors={}))
