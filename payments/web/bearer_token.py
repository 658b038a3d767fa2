"""Bearer tokens: how tools of the operator and of the newsroom show who they are."""

import hmac

from pydantic import SecretStr

from payments.core.errors import NotFound
from payments.web.forms import AnyRequest


def require_bearer_token(request: AnyRequest, token: SecretStr | None) -> None:
    """Raise NotFound unless a request carries the token. Nobody's does where none is set."""
    sent = request.headers.get("authorization", "").removeprefix("Bearer ")
    if token is None or not hmac.compare_digest(sent.encode(), token.get_secret_value().encode()):
        raise NotFound("There is nothing at this address.")
