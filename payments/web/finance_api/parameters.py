"""The parameters of the finance API, with the same names and the same refusals as on the pages.

Each operation lists the names it takes; another one is refused. Described here is what the OpenAPI
document says of them; the values are read by the functions that read those of the pages.
"""

from typing import Any

from payments.accounting.exports.journal_format import JournalFormat
from payments.accounting.reports.period import FORMS
from payments.accounting.reports.transaction_filters import FILTER_RULES
from payments.accounting.reports.variance import VarianceCause
from payments.core.errors import InvalidField
from payments.infra.audit_log import AuditAction
from payments.web.forms import AnyRequest, parse_count

DEFAULT_LIMIT, MAX_LIMIT = 100, 500  # items of a page
PERIOD_PARAMETERS = ("period", "from", "to")
PAGE_PARAMETERS = ("cursor", "limit")
_DAY = {"type": "string", "format": "date"}


def _filter(name: str, description: str) -> dict[str, Any]:
    """Describe a filter of transactions by its rule."""
    allowed, help_text = FILTER_RULES[name]
    schema: dict[str, Any] = {"type": "string"}
    if isinstance(allowed, tuple):
        schema["enum"] = list(allowed)
    else:
        schema["pattern"] = f"^{allowed.pattern}$"
    return {"description": f"{description}: {help_text}.", "schema": schema}


PARAMETERS: dict[str, dict[str, Any]] = {
    "period": {
        "description": f"One of {FORMS}, of the accounting zone; not with `from` or `to`.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 30},
    },
    "from": {"description": "The first day, of the accounting zone.", "schema": _DAY},
    "to": {"description": "The day after the last one.", "schema": _DAY},
    "against": {
        "description": "What to compare with: the period just before, or the same a year before.",
        "schema": {"type": "string", "enum": ["before", "year"]},
    },
    "cause": {
        "description": "A cause to look behind.",
        "schema": {"type": "string", "enum": [str(cause) for cause in VarianceCause]},
    },
    "closing": {
        "description": "The number of one closing of the month, undone or not; the one that counts"
        " without it.",
        "schema": {"type": "string", "pattern": "^[0-9]{1,9}$"},
    },
    "type": _filter("type", "What kind of movement"),
    "frequency": _filter("frequency", "How often the contribution is given"),
    "currency": _filter("currency", "The currency that was settled"),
    "account": _filter("account", "An account of the ledger"),
    "amount": _filter("amount", "An amount in major units, with a minus for one that left"),
    "campaign": _filter("campaign", "The campaign of the contribution"),
    "id": {
        **_filter("id", "Whatever the movements are about"),
        "schema": {"type": "string", "maxLength": 255},
    },
    "who": {
        "description": "The name of a colleague, as it was when it was written.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 80},
    },
    "what": {
        "description": "What was done.",
        "schema": {"type": "string", "enum": [str(action) for action in AuditAction]},
    },
    "format": {
        "description": "The format of the file.",
        "required": True,
        "schema": {"type": "string", "enum": [str(one) for one in JournalFormat]},
    },
    "cursor": {
        "description": "`next_cursor` of the page before, with the same filters. It counts for a"
        " day.",
        "schema": {"type": "string", "maxLength": 2000},
    },
    "limit": {
        "description": f"Items of a page: 1 to {MAX_LIMIT}, {DEFAULT_LIMIT} without it.",
        "schema": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT},
    },
}  # fmt: skip


def page_size(request: AnyRequest) -> int:
    """Return how many items a page has. Raises InvalidField, which names the most."""
    value = request.query_params.get("limit")
    if value is None:
        return DEFAULT_LIMIT
    size = parse_count(value)
    if size is None or not 1 <= size <= MAX_LIMIT:
        raise InvalidField(f"limit: a whole number from 1 to {MAX_LIMIT}.", field="limit")
    return size
