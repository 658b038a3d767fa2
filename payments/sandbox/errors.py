"""Stripe's API errors: an HTTP status and one `error` object.

    invalid_request       400  a parameter is wrong, unknown, missing, or not possible now
    missing_param         400
    unsupported           400  Stripe can do it and the sandbox cannot
    not_found             404  resource_missing
    authentication_error  401  no API key, or one that is not taken
    card_error            402  declined by the bank or by Radar

https://docs.stripe.com/api/errors
"""

from typing import Final

from payments.sandbox.form_encoding import JsonObject

DECLINED: Final = 402


class ApiError(Exception):
    """An API error, ready to be sent."""

    def __init__(self, status: int, error: JsonObject) -> None:
        super().__init__(error.get("message", ""))
        self.status = status
        self.error = error

    @property
    def body(self) -> JsonObject:
        """The response body."""
        return {"error": self.error}


def invalid_request(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """Return a 400: the request cannot be carried out."""
    error: JsonObject = {"type": "invalid_request_error", "message": message}
    if code:
        error |= {"code": code, "doc_url": f"https://stripe.com/docs/error-codes/{code}"}
    if param:
        error["param"] = param
    return ApiError(400, error)


def missing_param(param: str) -> ApiError:
    """Return a 400: a required parameter is missing."""
    return invalid_request(f"Missing required param: {param}.", param, "parameter_missing")


def unsupported(param: str) -> ApiError:
    """Return a 400: Stripe takes this parameter, or `name=value`, and the sandbox does not."""
    message = f"The sandbox does not do `{param}` yet."
    refusal = invalid_request(message, param.partition("=")[0], "sandbox_unsupported")
    del refusal.error["doc_url"]  # the code is the sandbox's own
    return refusal


def not_found(kind: str, object_id: str, param: str = "id") -> ApiError:
    """Return a 404, or a 400 when the id came as a parameter rather than in the path."""
    refusal = invalid_request(f"No such {kind}: '{object_id}'", param, "resource_missing")
    refusal.status = 404 if param == "id" else 400
    return refusal


def authentication_error(message: str, code: str | None = None) -> ApiError:
    """Return a 401: the API key is missing, unknown, expired or of the wrong kind."""
    refusal = invalid_request(message, code=code)
    refusal.status = 401
    return refusal


def card_error(error: JsonObject) -> ApiError:
    """Return a 402: the card was not charged."""
    return ApiError(DECLINED, {"type": "card_error", **error})
