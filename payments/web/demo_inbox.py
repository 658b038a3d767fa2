"""The demo's inbox, with every mail as its donor would read it, and the demo's clock."""

import base64
import mailbox
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from email.utils import parsedate_to_datetime
from typing import Any, cast

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.enums import MediaType
from litestar.exceptions import NotFoundException
from litestar.params import FromPath
from litestar.response import Redirect

from payments.infra import demo_clock
from payments.infra.context import Context
from payments.mail.brand import LOGO_ID
from payments.web import csrf, rendering
from payments.web.forms import AnyRequest, form_data

MAX_MAILS = 200
LINK_PATTERN = re.compile(r"https?://\S+")
INBOX_PATH = "/dev/inbox"
STEPS = {"hour": 1, "day": 24, "week": 7 * 24, "month": 31 * 24}  # in hours
# A mail program shows a mail's own style and pictures, and runs and loads nothing.
MAIL_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


@get(INBOX_PATH, include_in_schema=False, sync_to_thread=True)
def list_mails(ctx: NamedDependency[Context], request: AnyRequest) -> Response[str]:
    """Return the mails, newest first: all, or those to one address."""
    clock = demo_clock.find(ctx.settings)
    inbox = mailbox.Maildir(ctx.settings.demo_inbox_dir)
    mails = [(key, _parse_mail(inbox.get_bytes(key))) for key in inbox.keys()]  # noqa: SIM118 - no mapping
    address = request.query_params.get("to", "").strip()
    if address:
        mails = [(key, mail) for key, mail in mails if address in str(mail["To"])]
    mails.sort(key=lambda one: _sent_at(one[1]), reverse=True)
    shown = mails[:MAX_MAILS]
    return rendering.render(
        ctx,
        "demo_inbox.html",
        mails=[_mail_view(key, mail) for key, mail in shown],
        address=address,
        more_count=len(mails) - len(shown),
        now=f"{ctx.now():%d.%m.%Y %H:%M}",
        days_left=round(clock.left() / timedelta(days=1)) if clock else 0,
        steps=list(STEPS),
    )


@get(INBOX_PATH + "/{key:str}", include_in_schema=False, sync_to_thread=True)
def show_mail(ctx: NamedDependency[Context], key: FromPath[str]) -> Response[str]:
    """Return a mail's HTML as a mail program shows it. Raises NotFoundException."""
    try:
        mail = _parse_mail(mailbox.Maildir(ctx.settings.demo_inbox_dir).get_bytes(key))
    except KeyError:
        raise NotFoundException from None
    page = mail.get_body(("html",))
    html: str = page.get_content() if page is not None else ""
    for part in mail.walk():
        if part["Content-ID"] == f"<{LOGO_ID}>":
            picture = base64.b64encode(cast("bytes", part.get_payload(decode=True))).decode()
            html = html.replace(f"cid:{LOGO_ID}", f"data:image/png;base64,{picture}")
    headers = {"content-security-policy": MAIL_POLICY}
    return Response(html, media_type=MediaType.HTML, headers=headers)


@post("/dev/clock", include_in_schema=False, guards=[csrf.require_same_origin])
async def turn_clock(ctx: NamedDependency[Context], request: AnyRequest) -> Redirect:
    """Have the clock of the whole demo turned, and go back to the mails."""
    clock = demo_clock.find(ctx.settings)
    hours = STEPS.get((await form_data(request)).get("by", ""), 0)
    if clock is not None and hours:
        clock.turn(timedelta(hours=hours))
    return Redirect(INBOX_PATH, status_code=303)


def _parse_mail(raw: bytes) -> EmailMessage:
    mail = BytesParser(policy=policy.default).parsebytes(raw)
    assert isinstance(mail, EmailMessage)
    return mail


def _sent_at(mail: EmailMessage) -> datetime:
    return parsedate_to_datetime(mail["Date"])


def _mail_view(key: str, mail: EmailMessage) -> Mapping[str, Any]:  # what the template prints
    text = mail.get_body(("plain",))
    return {
        "key": key,
        "subject": mail["Subject"],
        "sender": mail["From"],
        "address": mail["To"],
        "date": f"{_sent_at(mail):%d.%m.%Y %H:%M}",
        "language": mail["Content-Language"],
        "text": _paragraphs(text.get_content() if text is not None else ""),
    }


def _paragraphs(text: str) -> list[list[Mapping[str, Any]]]:
    """Return the lines of each paragraph. A link has a line to itself."""
    return [
        [
            {"text": line, "is_link": LINK_PATTERN.fullmatch(line) is not None}
            for line in part.splitlines()
        ]
        for part in text.split("\n\n")
    ]
