"""API keys: secret, restricted and publishable; expired and rolled.

Every `sk_test_` key may do everything, so that trying the sandbox needs no set-up, until
`require_known_keys`. A restricted key always has to be added, with its scopes, read or write by
resource; `permissions` has the resources. Keys expire on the wall clock.

Errors have Stripe's words: 401 for a key that is missing, unknown, live, publishable or expired,
403 for a restricted key that lacks a permission.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from payments.sandbox import permissions
from payments.sandbox.account import StripeAccount
from payments.sandbox.account_settings import ACCOUNT_ID
from payments.sandbox.errors import ApiError, authentication_error

# The keys of `StripeAccount.state` that belong here
KEYS: Final = "api_keys"
KNOWN_KEYS_ONLY: Final = "known_api_keys_only"
PREFIXES: Final = {"secret": "sk_test_", "restricted": "rk_test_", "publishable": "pk_test_"}


@dataclass
class ApiKey:
    """A key of the account; `expires_at` is a Unix time, and no scopes stand for all of them."""

    secret: str
    kind: str  # one of PREFIXES
    scopes: dict[str, str] | None = None
    expires_at: float | None = None

    @property
    def masked(self) -> str:
        """The key as Stripe shows it in errors."""
        return mask(self.secret)

    def allows(self, permission: str) -> bool:
        """Return whether the key has a permission such as `charge_read`."""
        return self.scopes is None or permissions.allows(self.scopes, permission)


def add(
    account: StripeAccount,
    secret: str | None = None,
    *,
    scopes: Mapping[str, str] | None = None,
    kind: str | None = None,
    expires_at: float | None = None,
) -> ApiKey:
    """Add a key, restricted when it has scopes. Without a secret it gets a new one.

    Raises ValueError for a secret of another kind, an unknown resource or an unknown access.
    """
    if kind is None:
        named = next((k for k, prefix in PREFIXES.items() if (secret or "").startswith(prefix)), "")
        kind = named or ("secret" if scopes is None else "restricted")
    if kind not in PREFIXES:
        raise ValueError(f"kind: one of {', '.join(PREFIXES)}")
    if (kind == "restricted") != (scopes is not None):
        raise ValueError("scopes: a restricted key has them, and no other key has")
    if scopes is not None:
        check_scopes(scopes)
    secret = secret or account.store.new_id(PREFIXES[kind].removesuffix("_"), 32)
    if not secret.startswith(PREFIXES[kind]) or len(secret) <= len(PREFIXES[kind]):
        raise ValueError(f"secret: a {kind} key begins with {PREFIXES[kind]}")
    key = ApiKey(secret, kind, None if scopes is None else dict(scopes), expires_at)
    _save(account, key)
    return key


def expire(account: StripeAccount, secret: str, expires_at: float | None = None) -> None:
    """Let a key expire, at once or at a Unix time. Raises KeyError for an unknown key."""
    key = find(account, secret)
    now = account.clock.wall_now().timestamp()
    key.expires_at = now if expires_at is None else expires_at
    _save(account, key)


def roll(account: StripeAccount, secret: str, old_expires_at: float | None = None) -> ApiKey:
    """Replace a key by a new one with the same scopes; the old one expires at once or then.

    Raises KeyError for an unknown key.
    """
    old = find(account, secret)
    new = add(account, scopes=old.scopes, kind=old.kind)
    expire(account, secret, old_expires_at)
    return new


def require_known_keys(account: StripeAccount) -> None:
    """Refuse every key that was not added, from now on."""
    account.state[KNOWN_KEYS_ONLY] = True


def find(account: StripeAccount, secret: str) -> ApiKey:
    """Return a key of the account, expired or not. Raises KeyError when it has no such key."""
    return ApiKey(**account.state.get(KEYS, {})[secret])


def listed(account: StripeAccount) -> list[ApiKey]:
    """Return all keys of the account, oldest first."""
    return [ApiKey(**saved) for saved in account.state.get(KEYS, {}).values()]


def check_scopes(scopes: Mapping[str, str]) -> None:
    """Raise ValueError for a resource or an access that no permission has."""
    for resource, access in scopes.items():
        if resource not in permissions.RESOURCES:
            raise ValueError(f"scopes: no such resource: {resource}")
        if access not in permissions.ACCESSES:
            raise ValueError(f"scopes: {resource} may be read or write, not {access}")


def parse_scopes(names: Sequence[str]) -> dict[str, str]:
    """Return the scopes of permissions such as `charge_read`. Raises ValueError for unknown ones.

    `rak_charge_read`, as Stripe writes it, and `charge:read` are taken too. Write wins over read.
    """
    scopes: dict[str, str] = {}
    for name in names:
        resource, _, access = name.strip().removeprefix("rak_").replace(":", "_").rpartition("_")
        check_scopes({resource or name: access})
        scopes[resource] = "write" if "write" in (access, scopes.get(resource)) else "read"
    return scopes


def add_from_option(account: StripeAccount, option: str) -> ApiKey:
    """Add the key of an option `SECRET` or `SECRET:permission,permission`, and take no unknown one.

    Raises ValueError for a key that `add` refuses.
    """
    secret, colon, names = option.partition(":")
    scopes = parse_scopes(names.split(",")) if colon else None
    require_known_keys(account)
    return add(account, secret, scopes=scopes)


def authenticate(account: StripeAccount, authorization: str) -> ApiKey:
    """Return the key of an `Authorization` header. Raises ApiError, a 401."""
    secret = secret_of(authorization)
    if not secret:
        raise authentication_error("You did not provide an API key.")
    if secret.startswith("pk_"):
        message = "This API call cannot be made with a publishable API key. Please use a secret API"
        raise authentication_error(f"{message} key.", "secret_key_required")
    keys = account.state.get(KEYS, {})
    if secret not in keys:
        if secret.startswith(PREFIXES["secret"]) and not account.state.get(KNOWN_KEYS_ONLY):
            return ApiKey(secret, "secret")
        raise authentication_error(f"Invalid API Key provided: {mask(secret)}")
    key = ApiKey(**keys[secret])
    now = account.clock.wall_now().timestamp()
    if key.expires_at is not None and now >= key.expires_at:
        raise expired_error(secret)
    return key


def authorize(key: ApiKey, needed: Sequence[str]) -> None:
    """Check that a key has these permissions. Raises ApiError, a 403 that names the first missing.

    Stripe's errors name one need, so a client learns of the others one by one.
    """
    for permission in needed:
        if not key.allows(permission):
            raise permission_error(key.secret, permission)


def permission_error(secret: str, permission: str) -> ApiError:
    """Return a 403: a key lacks this permission. It names others that would do as well."""
    named = [f"'rak_{each}'" for each in permissions.that_grant(permission)]
    message = (
        f"The provided key '{mask(secret)}' does not have the required permissions for this "
        f"endpoint on account '{ACCOUNT_ID}'. Having the {', '.join(named)} "
        f"permission{'s' * (len(named) > 1)} would allow this request to continue."
    )
    return ApiError(403, {"type": "invalid_request_error", "message": message})


def check_account(key: ApiKey, header: str | None) -> None:
    """Check that a `Stripe-Account` header names the account itself: it has no connected ones.

    Raises ApiError, a 403.
    """
    if header is None or header == ACCOUNT_ID:
        return
    message = (
        f"The provided key '{mask(key.secret)}' does not have access to account '{header[:40]}' "
        "(or that account does not exist). Application access may have been revoked."
    )
    error = {"type": "invalid_request_error", "code": "account_invalid", "message": message}
    raise ApiError(403, error)


def expired_error(secret: str) -> ApiError:
    """Return a 401: a key has expired."""
    return authentication_error(f"Expired API Key provided: {mask(secret)}", "api_key_expired")


def mask(secret: str) -> str:
    """Return a key with all but its prefix and its last four characters hidden."""
    prefix = "_".join(secret.split("_")[:2]) + "_" if secret.count("_") >= 2 else ""
    hidden = secret[len(prefix) :]
    shown = hidden[-4:] if len(hidden) > 4 else ""
    return f"{prefix}{'*' * max(len(hidden) - len(shown), 4)}{shown}"


def secret_of(authorization: str) -> str:
    """Return the key of an `Authorization` header, bearer or basic; empty when there is none."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() != "basic":
        return value.strip()
    try:
        return base64.b64decode(value).decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _save(account: StripeAccount, key: ApiKey) -> None:
    account.state.setdefault(KEYS, {})[key.secret] = asdict(key)
