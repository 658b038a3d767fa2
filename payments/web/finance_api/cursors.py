"""Cursors: the place where the next page of a list begins, signed and good for the same list only.

A place is that of the last item, not a count, so that a list stays the same while new items
arrive: none is shown twice and none is left out.
"""

from datetime import timedelta
from urllib.parse import urlencode

from payments.core.errors import InvalidField, LinkInvalid
from payments.infra import signing
from payments.infra.context import Context
from payments.web.forms import AnyRequest

PURPOSE = "finance api cursor"
LIFETIME = timedelta(days=1)


def read_cursor(ctx: Context, request: AnyRequest) -> str | None:
    """Return the place that a call goes on from; None for the first page.

    Raises InvalidField for a cursor that is not ours, is too old, or is of another list.
    """
    cursor = request.query_params.get("cursor")
    if cursor is None:
        return None
    refused = InvalidField(
        "cursor: the next_cursor of a page with the same filters, of the last day.", field="cursor"
    )
    try:
        of_list, place = signing.verify_token(
            ctx.settings.hmac_keys, PURPOSE, cursor, tuple[str, str],
            now=ctx.now(), max_age=LIFETIME,
        )  # fmt: skip
    except LinkInvalid:
        raise refused from None
    if of_list != _list_of(request):
        raise refused
    return place


def next_cursor(ctx: Context, request: AnyRequest, place: object | None) -> str | None:
    """Return the cursor of a place; None where there is no further page."""
    if place is None:
        return None
    return signing.sign_token(
        ctx.settings.hmac_keys, PURPOSE, [_list_of(request), str(place)], now=ctx.now()
    )


def _list_of(request: AnyRequest) -> str:
    """Return what identifies a list: its path and its filters."""
    filters = [
        (name, value)
        for name, value in request.query_params.multi_items()
        if name not in ("cursor", "limit")
    ]
    return f"{request.scope['path']}?{urlencode(sorted(filters))}"


def read_count(ctx: Context, request: AnyRequest) -> int:
    """Return after how many items of a list without later insertions a call goes on.

    Raises InvalidField as `read_cursor` does.
    """
    return int(read_cursor(ctx, request) or "0")
