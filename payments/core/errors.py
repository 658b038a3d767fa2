"""Expected failures, each a class with a sentence and a status. Anything else is a bug and answers
500.

PaymentsError
├── money.*                  what a reader typed as an amount (declared in money.py)
├── InvalidField             a field of a request is not what it should be
├── IdempotencyKeyMissing    a call that moves money came without its key
├── IdempotencyKeyReused     the same key, for something else
├── NotFound                 nothing here, or nothing that may be shown
├── NotSignedIn              a page for staff, asked for by somebody else
├── LinkSpent                a one-time link that was used, has expired or never was
├── BodyTooLarge             more bytes than a request may have
├── BadWebhook               a webhook that is not Stripe's, or not for this account
├── StripeUnavailable        Stripe did not answer in time
├── StripeRefused            Stripe answered that it will not do this
└── DatabaseUnavailable      the database is away; nothing was stored

A `detail` is written for the person who reads it and says what happened to their money. It never
holds anything personal: it is logged. Its sentence stands as a whole where it is raised, with
`%(named)s` places for the facts: that is what a translator finds, and a page looks up.
"""

from datetime import timedelta
from typing import ClassVar


class PaymentsError(Exception):
    """An expected failure. `field` names the request field at fault, where there is one, and
    `again_in` says when the same may be asked for again, where time is all that it takes.
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
    """A call that can move money must carry an Idempotency-Key."""

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
    """A page for staff, asked for without a staff session."""

    status = 401
    code = "unauthenticated"
    title = "Please sign in"


class LinkInvalid(PaymentsError):
    """A one-time link that was used, has expired, or never was: the three are not told apart."""

    status = 410
    code = "link-invalid"
    title = "This link no longer works"


class BodyTooLarge(PaymentsError):
    """The request is larger than it may be."""

    status = 413
    code = "body-too-large"
    title = "The request is too large"


class BadWebhook(PaymentsError):
    """The delivery is not Stripe's, is too old or too new, or is not for this account and mode."""

    status = 400
    code = "bad-webhook"
    title = "The webhook was refused"


class StripeUnavailable(PaymentsError):
    """Stripe did not answer, or answered with an error of its own."""

    status = 503
    code = "stripe-unavailable"
    title = "Our payment provider could not be reached"
    retry_after = timedelta(seconds=30)


class StripeRejected(PaymentsError):
    """Stripe will not do what we asked: our mistake, or `payments stripe setup` was not run."""

    status = 502
    code = "stripe-rejected"
    title = "Our payment provider refused"


class DatabaseUnavailable(PaymentsError):
    """The database is away. Nothing was stored, so the caller should try again."""

    status = 503
    code = "database-unavailable"
    title = "The service is not available right now"
    retry_after = timedelta(seconds=30)
