"""What Stripe says when it says no: an HTTP status and one `error` object.

Refusal
  invalid        400  a parameter is wrong, unknown, missing, or not possible now
  not_found      404  resource_missing
  unauthorised   401  no key, or not a test key
  card_refused   402  the bank, or Radar, said no
"""

from payments.sandbox.form_encoding import JsonObject


class ApiError(Exception):
    """An answer other than 200, ready to be sent."""

    def __init__(self, status: int, error: JsonObject) -> None:
        super().__init__(error.get("message", ""))
        self.status = status
        self.error = error

    @property
    def body(self) -> JsonObject:
        return {"error": self.error}


def invalid_request(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """400: the request cannot be carried out as it stands."""
    error: JsonObject = {"type": "invalid_request_error", "message": message}
    if code:
        error |= {"code": code, "doc_url": f"https://stripe.com/docs/error-codes/{code}"}
    if param:
        error["param"] = param
    return ApiError(400, error)


def missing_param(param: str) -> ApiError:
    """400: a required parameter is not there."""
    return invalid_request(f"Missing required param: {param}.", param, "parameter_missing")


def not_found(kind: str, object_id: str, param: str = "id") -> ApiError:
    """404, or 400 where the id came as a parameter rather than in the path."""
    refusal = invalid_request(f"No such {kind}: '{object_id}'", param, "resource_missing")
    refusal.status = 404 if param == "id" else 400
    return refusal


def authentication_error(message: str) -> ApiError:
    """401: the key is missing or is not one of ours."""
    return ApiError(401, {"type": "invalid_request_error", "message": message})


def card_error(error: JsonObject) -> ApiError:
    """402: the card was not charged."""
    return ApiError(402, {"type": "card_error", **error})
