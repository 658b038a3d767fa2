"""The API key of a newsroom at the sandbox: what it may do."""

from payments.infra import stripe_permissions
from tests.support.newsroom import Newsroom


def restrict_key(room: Newsroom, scopes: dict[str, str]) -> None:
    """Let the newsroom's key do this and nothing else."""
    room.sandbox.add_key(room.settings.stripe_api_key.get_secret_value(), scopes=scopes)


def key_without(room: Newsroom, *resources: str) -> None:
    """Let the newsroom's key do what it needs, but nothing with these resources."""
    listed = stripe_permissions.scopes()
    restrict_key(room, {name: listed[name] for name in listed if name not in resources})
