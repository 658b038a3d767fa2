"""The demo's inbox: every mail the service sent, as its donor would read it."""

import mailbox
import re
from collections.abc import Mapping
from datetime import datetime
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from email.utils import parsedate_to_datetime
from typing import Any

from litestar import Response, get
from litestar.di import NamedDependency

from payments.infra.context import Context
from payments.web import rendering

MAX_MAILS = 200
LINK_PATTERN = re.compile(r"https?://\S+")


@get("/dev/inbox", include_in_schema=False, sync_to_thread=True)
def list_mails(ctx: NamedDependency[Context]) -> Response[str]:
    """Return the mails, newest first."""
    inbox = mailbox.Maildir(ctx.settings.demo_inbox_dir)
    mails = [_parse_mail(inbox.get_bytes(key)) for key in inbox.keys()]  # noqa: SIM118 - no mapping
    mails.sort(key=_sent_at, reverse=True)
    return rendering.render(
        ctx, "demo_inbox.html", mails=[_mail_view(mail) for mail in mails[:MAX_MAILS]]
    )


def _parse_mail(raw: bytes) -> EmailMessage:
    mail = BytesParser(policy=policy.default).parsebytes(raw)
    assert isinstance(mail, EmailMessage)
    return mail


def _sent_at(mail: EmailMessage) -> datetime:
    return parsedate_to_datetime(mail["Date"])


def _mail_view(mail: EmailMessage) -> Mapping[str, Any]:  # what the template prints
    text, html = mail.get_body(("plain",)), mail.get_body(("html",))
    return {
        "subject": mail["Subject"],
        "sender": mail["From"],
        "address": mail["To"],
        "date": f"{_sent_at(mail):%d.%m.%Y %H:%M}",
        "language": mail["Content-Language"],
        "text": _paragraphs(text.get_content() if text is not None else ""),
        "html": html.get_content() if html is not None else "",
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
