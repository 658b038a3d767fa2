"""Values that no SDK knows yet: a new status, a new type, a new kind of payment method.

Stripe adds values at any time. An object that is given one keeps it, and the contract is checked
against the value it had before.
"""

from payments.sandbox.account import StripeAccount
from payments.sandbox.errors import not_found
from payments.sandbox.form_encoding import JsonObject, JsonValue

STATE_KEY = "known_values"  # the key of `StripeAccount.state`: {object id: {field: value before}}


def set_fields(
    account: StripeAccount, object_id: str, fields: JsonObject, event_type: str | None
) -> JsonObject:
    """Set fields of an object to any values, and emit an event of this type about it.

    Raises ApiError for an unknown id, ValueError for a field that the object does not have.
    """
    row = account.store.objects.get(object_id)
    if row is None or "deleted" in row:
        raise not_found("object", object_id)
    unknown = sorted({"id", "object"} & fields.keys() | fields.keys() - row.keys())
    if unknown:
        raise ValueError(f"fields: {', '.join(unknown)}: not to be set on a {row['object']}")
    known = account.state.setdefault(STATE_KEY, {}).setdefault(object_id, {})
    for name, value in fields.items():
        known.setdefault(name, row[name])
        if known[name] == value:
            del known[name]
    previous = account.set_fields(row, **fields)
    if event_type is not None:
        account.emit(event_type, row, previous)
    return row


def with_known_values(account: StripeAccount, payload: JsonValue) -> JsonValue:
    """Return a response or event with the values before, wherever such an object is shown."""
    known = account.state.get(STATE_KEY)
    return _restored(known, payload) if known else payload


def _restored(known: JsonObject, value: JsonValue) -> JsonValue:
    if isinstance(value, list):
        return [_restored(known, entry) for entry in value]
    if not isinstance(value, dict):
        return value
    restored = {name: _restored(known, entry) for name, entry in value.items()}
    before = known.get(str(value.get("id")), {})
    return {**restored, **{name: before[name] for name in before if name in restored}}
