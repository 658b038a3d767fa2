"""Delivery: one mail handed to the mail server, and what becomes of it if the server says no."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiosmtplib

from payments.infra.context import Context
from payments.mail import refusals, smtp
from payments.mail.refusals import EverybodyRefused
from payments.mail.render import RenderedMail
from payments.mail.smtp import Envelope, NoSuchMailbox, SendResult


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to send a mail that is sent at most once.

    `take` is called after the server has accepted the recipient and before it gets the content;
    it returns whether nobody else sends it. `give_back` is called when the server then refuses the
    content: nothing was sent.
    """

    take: Callable[[], Awaitable[bool]]
    give_back: Callable[[], Awaitable[None]]


async def send(ctx: Context, rendered: RenderedMail, envelope: Envelope) -> SendResult:
    """Send a mail at least once: again, if the answer to it is lost.

    Raises what is no answer for good: aiosmtplib's errors, OSError and EverybodyRefused. Each
    refusal is recorded, so that a person looks where that is needed.
    """
    async with _recorded(ctx, envelope):
        return await _sent(ctx, rendered, envelope, None)


async def send_at_most_once(
    ctx: Context, rendered: RenderedMail, envelope: Envelope, claim: Claim
) -> SendResult:
    """Send a mail at most once. Raises as `send` does; a claim stays unless the server refused."""
    async with _recorded(ctx, envelope):
        return await _sent(ctx, rendered, envelope, claim)


async def _sent(
    ctx: Context, rendered: RenderedMail, envelope: Envelope, claim: Claim | None
) -> SendResult:
    try:
        async with smtp.connection(ctx.settings) as server:
            if claim is None:
                result = await smtp.send(server, ctx.settings, rendered, envelope)
            else:
                result = await smtp.send_at_most_once(
                    server, ctx.settings, rendered, envelope, claim.take, claim.give_back
                )
    except NoSuchMailbox as missing:
        async with ctx.sessions.begin() as session:
            is_believed = await refusals.record_missing_mailbox(
                session, envelope.id, missing.refusal, now=ctx.now()
            )
        if not is_believed:
            raise EverybodyRefused from missing
        return SendResult.NO_SUCH_MAILBOX
    if result is SendResult.ACCEPTED:
        async with ctx.sessions.begin() as session:
            await refusals.record_acceptance(session, envelope.id, now=ctx.now())
    return result


@asynccontextmanager
async def _recorded(ctx: Context, envelope: Envelope) -> AsyncIterator[None]:
    """Record a refusal that is raised."""
    try:
        yield
    except aiosmtplib.SMTPException as error:
        refusal = refusals.refusal_of(error)
        if refusal is not None:
            async with ctx.sessions.begin() as session:
                await refusals.record(session, envelope.id, refusal, now=ctx.now())
        raise
