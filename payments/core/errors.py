"""Expected failures: each is a class with a message, a status and a code. Anything else is a bug.

PaymentsError
├── money.InvalidAmount      the amount cannot be given (with its kinds in money.py)
├── InvalidField             a field of a request is missing, unknown or out of its range
├── IdempotencyKeyMissing    a call that can move money came without its key
├── IdempotencyKeyReused     the key was used before for something else
├── NotFound                 nothing here, or nothing that may be shown
├── Unauthenticated          a page for staff, requested without a staff session
├── LinkInvalid              a one-time link that was used, has expired or never existed
├── BadWebhook               a webhook that is not Stripe's, or not for this account
├── StripeUnavailable        Stripe did not answer in time, or not to us
│   ├── StripeBusy               it takes fewer requests than we send
│   ├── StripeKeyRefused         it does not know our API key, or not any more
│   └── StripePermissionMissing  our API key may not do this
├── StripeRejected           Stripe answered that it will not do this
├── CardDeclined             a bank declined a charge that we asked for
└── DatabaseUnavailable      the database does not answer; nothing was stored

The rooms declare their own beside their rules. A message is written for the person who reads it and
says what happened to their money. It holds nothing personal, because it is logged. It is a whole
sentence where it is raised, with `%(named)s` parameters: translators find it there, and a page
looks up its translation.
"""

from datetime import timedelta
from typing import ClassVar


class PaymentsError(Exception):
    """An expected failure.

    `message` with its `message_params` is for the reader, and `detail` is both put together in
    English. `field` names the request field at fault, if there is one. `retry_after` says when the
    same request may succeed, if waiting is all that it takes.
    """

    status: ClassVar[int] = 400
    code: ClassVar[str] = "refused"
    title: ClassVar[str] = "The request was refused"
    retry_after: timedelta | None = None

    def __init__(self, message: str, *, field: str | None = None, **message_params: object) -> None:
        self.message = message
        self.message_params = message_params
        self.detail = message % message_params if message_params else message
        self.field = field
        super().__init__(self.detail)


class InvalidField(PaymentsError):
    """A field of the request is missing, unknown or out of its range."""

    status = 422
    code = "invalid-field"
    title = "A field is not valid"


class IdempotencyKeyMissing(PaymentsError):
    """A call that can move money came without an Idempotency-Key."""

    status = 400
    code = "idempotency-key-missing"
    title = "The Idempotency-Key header is missing or malformed"


class IdempotencyKeyReused(PaymentsError):
    """The key was used before for a different request."""

    status = 422
    code = "idempotency-key-reused"
    title = "The Idempotency-Key was used for another request"


class NotFound(PaymentsError):
    """Nothing here, or nothing that may be shown."""

    status = 404
    code = "not-found"
    title = "Not found"


class Unauthenticated(PaymentsError):
    """A page for staff was requested without a staff session."""

    status = 401
    code = "unauthenticated"
    title = "Please sign in"


class LinkInvalid(PaymentsError):
    """A one-time link was used, has expired, or never existed; which of them is not disclosed."""

    status = 410
    code = "link-invalid"
    title = "This link no longer works"


class BadWebhook(PaymentsError):
    """The delivery is not Stripe's, is too old or too new, or is not for this account and mode."""

    status = 400
    code = "bad-webhook"
    title = "The webhook was refused"


class StripeUnavailable(PaymentsError):
    """Stripe did not answer, or answered with an error of its own.

    What was asked is neither right nor wrong: the same may be asked again later. `operator_detail`
    says what it means to whoever runs the service; None where the message says it all. `route` is
    what was asked, as a method and a path without ids, where that is known.
    """

    status = 503
    code = "stripe-unavailable"
    title = "Our payment provider could not be reached"
    retry_after = timedelta(seconds=30)
    operator_detail: str | None = None
    route: str | None = None


class StripeBusy(StripeUnavailable):
    """Stripe refused one request too many. It did nothing."""

    code = "stripe-busy"
    title = "Our payment provider is busy"


class StripeKeyRefused(StripeUnavailable):
    """Stripe does not accept our API key: it is wrong, expired or revoked. A person must act."""

    code = "stripe-key-refused"
    title = "Our payment provider is not accepting our requests"
    retry_after = timedelta(minutes=15)
    operator_detail = (
        "Stripe does not accept the API key: it is wrong, expired or revoked. Make a new one and "
        "set PAYMENTS_STRIPE_API_KEY."
    )


class StripePermissionMissing(StripeUnavailable):
    """Our API key may not do this. A person must give it the permission, which is named."""

    code = "stripe-permission-missing"
    title = "Our payment provider is not accepting this request"
    retry_after = timedelta(minutes=15)

    def __init__(self, message: str, *, permission: str) -> None:
        super().__init__(message)
        self.permission = permission
        self.operator_detail = (
            f"The API key lacks a permission: {permission}. Add it at Stripe; `payments stripe "
            "permissions` lists all that it needs."
        )


class StripeRejected(PaymentsError):
    """Stripe refused a request: a mistake of ours, or `payments stripe setup` was not run.

    `stripe_code` is Stripe's word for why, where it has one.
    """

    status = 502
    code = "stripe-rejected"
    title = "Our payment provider refused"

    def __init__(self, message: str, *, stripe_code: str | None = None) -> None:
        super().__init__(message)
        self.stripe_code = stripe_code


class CardDeclined(PaymentsError):
    """A bank declined a charge that we asked Stripe for."""

    status = 402
    code = "card-declined"
    title = "The card was declined"


class DatabaseUnavailable(PaymentsError):
    """The database does not answer. Nothing was stored, so the caller should try again."""

    status = 503
    code = "database-unavailable"
    title = "The service is not available right now"
    retry_after = timedelta(seconds=30)
