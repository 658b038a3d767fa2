"""What a finance page answers when it refuses: what is wrong, with everything typed still there.

A colleague stays among the pages of finance. A filter of any page or file, and the place where a
page of a list begins, can be wrong in an address; the form below has all filters that were sent, so
that the wrong one alone is typed again.
"""

from collections.abc import Mapping
from typing import Any

from litestar import Response

from payments.accounting.exports.journal_format import JournalFormat
from payments.core.errors import PaymentsError
from payments.infra.context import Context
from payments.staff.accounts import Staff
from payments.web import errors
from payments.web.csrf import SAFE_METHODS
from payments.web.finance import filters, layout
from payments.web.forms import AnyRequest
from payments.web.staff import layout as staff_layout
from payments.web.staff.auth import return_url_of
from payments.web.staff.guards import STATE_SESSION

MAX_FIELDS = 20  # of an address
FILTER_LABELS = {
    "period": "Period, such as 2026-10 or 2026",
    "from": "From",
    "to": "Up to, not including",
    "against": "Compared with",
    "type": "Type",
    "frequency": "Frequency",
    "currency": "Currency",
    "account": "Account",
    "campaign": "Campaign",
    "id": "Id",
    "amount": "Amount",
    "format": "Format",
    "who": "Who",
    "what": "What",
}
# Places in a list, which only links hold: there is nothing to type.
PLACES = frozenset({"before", "after", "at_risk_after", "disputes_after", "cause", "sort", "lang"})


def on_payments_error(request: AnyRequest, error: PaymentsError) -> Response[Any]:
    """Return the page of a refusal for a colleague; to anybody else, what every page answers."""
    staff_session = request.scope["state"].get(STATE_SESSION)
    if staff_session is None:
        return errors.on_payments_error(request, error)
    ctx: Context = request.app.state.ctx
    return _render(request, ctx, staff_session.colleague, error)


def _render(
    request: AnyRequest, ctx: Context, colleague: Staff, error: PaymentsError
) -> Response[Any]:
    """Return the page of a refusal, with the status of its error."""
    path: str = request.scope["path"]
    is_read = request.method in SAFE_METHODS
    page = layout.render_frame(
        ctx,
        "finance_refusal.html",
        colleague,
        title=error.title,
        active_url=_page_of(path),
        status=error.status,
        message=errors.message_with_retry(error),
        url=path,
        fields=_fields(request.query_params, error.field) if is_read else [],
        back_url=_page_of(path) if is_read else return_url_of(request),
    )
    return errors.with_retry_after(page, error)


def _page_of(path: str) -> str:
    """Return the page in the navigation that an address belongs to."""
    urls = [
        item.url
        for item in staff_layout.NAVIGATION
        if path == item.url or path.startswith(f"{item.url}/")
    ]
    return max(urls, key=len, default="/finance")


def _fields(params: Mapping[str, str], wrong: str | None) -> list[dict[str, object]]:
    """Return the filters of an address as fields, the wrong one marked; none for a wrong place."""
    if wrong is None or wrong in PLACES:
        return []
    names = [name for name in params if name not in PLACES][:MAX_FIELDS]
    return [
        {
            "name": name,
            "label": FILTER_LABELS.get(name, name.capitalize()),
            "value": params.get(name, ""),
            "options": _options(name, params.get(name, "")),
            "is_wrong": name == wrong,
        }
        for name in dict.fromkeys([*names, wrong])
    ]


def _options(name: str, value: str) -> list[dict[str, object]]:
    """Return the choices of a filter that has few, with what was sent; empty for one to type."""
    if name == "currency":
        return filters.currency_options(value)
    if name == "frequency":
        return filters.frequency_options(value)
    if name == "format":
        return filters.select_options([(one.value, one.label) for one in JournalFormat], value)
    return []
