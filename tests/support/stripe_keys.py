"""The API key of a newsroom at the sandbox: what it may do, and until when."""

from payments.sandbox import permissions
from tests.support.newsroom import Newsroom


def restrict_key(room: Newsroom, *, without: tuple[str, ...] = ()) -> None:
    """Let the newsroom's key do everything but what these resources are for."""
    state, secret = room.sandbox.account.state, room.settings.stripe_api_key.get_secret_value()
    state["api_keys"] = {
        secret: {
            "secret": secret,
            "kind": "restricted",
            "scopes": {name: "write" for name in permissions.RESOURCES if name not in without},
            "expires_at": None,
        }
    }
