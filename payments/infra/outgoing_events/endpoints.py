"""Endpoints: where events are sent, what each wants, and the secrets that sign them.

A URL may have a secret in its path, so it is sealed like the signing secret, under the operator's
secret key, and shown and logged as its host alone. A secret is shown once, when it is made. A new
one replaces it at once, and the old one signs as well for `OLD_SECRET_LIFETIME`, so that a receiver
can be changed in between.
"""

import base64
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import msgspec
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from payments.core.errors import InvalidField, NotFound
from payments.core.identifiers import is_row_id, new_row_id
from payments.core.safety_policy import EventRule
from payments.core.settings import Settings
from payments.infra import alerts, signing
from payments.infra.alerts import AlertKind
from payments.infra.outgoing_events import addresses
from payments.infra.outgoing_events.addresses import NOTHING_SAVED
from payments.infra.outgoing_events.tables import (
    KINDS_OF_THE_BOOKS,
    OFFERED_KINDS,
    DisabledReason,
    EventEndpoint,
    EventKind,
)

SEAL_PURPOSE = "event endpoints"
SECRET_BYTES = 32
OLD_SECRET_LIFETIME = timedelta(hours=24)
MAX_ENDPOINTS = 20
MAX_NAME_LENGTH = 80


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """What is sealed of an endpoint. Secrets are written as Standard Webhooks has them.

    `pseudonym_key` makes the pseudonyms of contributions that this endpoint alone gets.
    """

    url: str
    secret: str
    pseudonym_key: bytes
    old_secret: str = ""
    old_secret_until: datetime | None = None

    def signing_secrets(self, now: datetime) -> tuple[str, ...]:
        """Return the secrets that sign a message now, the newest first."""
        is_valid = self.old_secret_until is not None and now < self.old_secret_until
        return (self.secret, self.old_secret) if is_valid else (self.secret,)


class Unreadable(Exception):
    """An endpoint is sealed under a secret key that this service has no more."""


def new_secret() -> str:
    """Return a new signing secret: `whsec_` and 32 random bytes in base64."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


# --- sealing --------------------------------------------------------------------------------------


def seal(settings: Settings, opened: Sealed) -> bytes:
    """Return what is stored of an endpoint, under the newest secret key."""
    return _fernet(settings).encrypt(msgspec.json.encode(opened))


def unseal(settings: Settings, endpoint: EventEndpoint) -> Sealed:
    """Return what an endpoint's row holds sealed. Raises Unreadable."""
    try:
        return msgspec.json.decode(_fernet(settings).decrypt(endpoint.sealed), type=Sealed)
    except InvalidToken:
        raise Unreadable from None


def _fernet(settings: Settings) -> MultiFernet:
    keys = signing.hmac_digests(settings.hmac_keys, SEAL_PURPOSE, "")
    return MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in keys])


def shown_address(settings: Settings, endpoint: EventEndpoint) -> str:
    """Return an endpoint's address as it is shown: without its path, which may be a secret. Empty
    where it cannot be read.
    """
    try:
        parts = urlsplit(unseal(settings, endpoint).url)
    except Unreadable:
        return ""
    return f"{parts.scheme}://{parts.netloc}" + ("/…" if parts.path.strip("/") else "")


# --- reading --------------------------------------------------------------------------------------


async def list_all(session: AsyncSession) -> list[EventEndpoint]:
    """Return every endpoint, the oldest first."""
    query = select(EventEndpoint).order_by(EventEndpoint.created_at, EventEndpoint.id)
    return list(await session.scalars(query))


async def get(session: AsyncSession, endpoint_id: str, *, lock: bool = False) -> EventEndpoint:
    """Return an endpoint, locked until the transaction ends if asked. Raises NotFound."""
    endpoint = (
        await session.get(EventEndpoint, endpoint_id, with_for_update=lock)
        if is_row_id(endpoint_id)
        else None
    )
    if endpoint is None:
        raise NotFound("There is no such endpoint.")
    return endpoint


# --- changing -------------------------------------------------------------------------------------


async def create(
    session: AsyncSession,
    settings: Settings,
    *,
    name: str,
    url: str,
    kinds: Sequence[str],
    now: datetime,
) -> tuple[EventEndpoint, str]:
    """Create an endpoint whose URL was looked up. Returns it and its secret, to be shown once.

    It gets what happens from this second on. Raises InvalidField.
    """
    if (
        await session.scalar(select(func.count()).select_from(EventEndpoint)) or 0
    ) >= MAX_ENDPOINTS:
        raise InvalidField(
            f"There are {MAX_ENDPOINTS} endpoints already. {NOTHING_SAVED}", field="name"
        )
    secret = new_secret()
    endpoint = EventEndpoint(
        id=new_row_id(),
        name=_validate_name(name),
        sealed=seal(settings, _new_sealed(url, secret)),
        kinds=_validate_kinds(settings, kinds),
        created_at=now.replace(microsecond=0),
        failures=0,
    )
    session.add(endpoint)
    await session.flush()
    return endpoint, secret


def change(
    settings: Settings, endpoint: EventEndpoint, *, name: str, url: str, kinds: Sequence[str]
) -> str:
    """Change a locked endpoint; without a URL its address stays. Returns the secret it got where
    nobody can read its own any more, else an empty text. Raises InvalidField.
    """
    endpoint.name, endpoint.kinds = _validate_name(name), _validate_kinds(settings, kinds)
    secret = ""
    if url:
        try:
            opened = msgspec.structs.replace(unseal(settings, endpoint), url=url)
        except Unreadable:
            secret = new_secret()
            opened = _new_sealed(url, secret)
        endpoint.sealed = seal(settings, opened)
    return secret


def _new_sealed(url: str, secret: str) -> Sealed:
    return Sealed(url=url, secret=secret, pseudonym_key=secrets.token_bytes(32))


def rotate_secret(settings: Settings, endpoint: EventEndpoint, *, now: datetime) -> str:
    """Give a locked endpoint a new secret and return it. The old one signs for a day as well.

    Raises InvalidField where nobody can read the old one any more.
    """
    secret = new_secret()
    try:
        opened = unseal(settings, endpoint)
    except Unreadable:
        raise InvalidField(
            "No secret key of today reads its address. Save its address again, which gives it a"
            f" new secret as well. {NOTHING_SAVED}",
            field="url",
        ) from None
    endpoint.sealed = seal(
        settings,
        msgspec.structs.replace(
            opened,
            secret=secret,
            old_secret=opened.secret,
            old_secret_until=now + OLD_SECRET_LIFETIME,
        ),
    )
    return secret


async def disable(
    session: AsyncSession, endpoint: EventEndpoint, reason: DisabledReason, *, now: datetime
) -> None:
    """Send nothing more to a locked endpoint. What happens meanwhile waits for it. Unless a
    colleague did it, an alert says so.
    """
    endpoint.disabled_at, endpoint.disabled_reason = now, reason
    if reason is not DisabledReason.BY_COLLEAGUE:
        await alerts.raise_alert(
            session, AlertKind.EVENT_ENDPOINT_DISABLED, object_id=endpoint.id, now=now
        )


async def enable(session: AsyncSession, endpoint: EventEndpoint, *, now: datetime) -> None:
    """Send to a locked endpoint again, and what waited for it first."""
    endpoint.disabled_at = endpoint.disabled_reason = None
    endpoint.failing_since = endpoint.retry_at = None
    endpoint.failures = 0
    await alerts.close(session, AlertKind.EVENT_ENDPOINT_DISABLED, object_id=endpoint.id, now=now)


async def delete(session: AsyncSession, endpoint: EventEndpoint, *, now: datetime) -> None:
    """Delete an endpoint with its log; nobody can tie its pseudonyms to anything afterwards."""
    await session.delete(endpoint)
    await alerts.close(session, AlertKind.EVENT_ENDPOINT_DISABLED, object_id=endpoint.id, now=now)


async def save_url(settings: Settings, url: str) -> str:
    """Return a URL that an endpoint may have, after looking its host up. Raises InvalidField."""
    loopback = addresses.allows_loopback(settings)
    url = addresses.validate_url(url.strip(), loopback=loopback)
    await addresses.require_public(url, loopback=loopback)
    return url


def _validate_name(name: str) -> str:
    name = " ".join(name.split())
    if not name or len(name) > MAX_NAME_LENGTH or not name.isprintable():
        raise InvalidField(
            f"A name has at most {MAX_NAME_LENGTH} characters on one line. {NOTHING_SAVED}",
            field="name",
        )
    return name


def offered_kinds(settings: Settings) -> tuple[EventKind, ...]:
    """Return what an endpoint may ask for: of gifts nothing, where the policy hides them."""
    policy = settings.safety_policy
    if policy is None or policy.outgoing_events is not EventRule.HIDDEN:
        return OFFERED_KINDS
    return tuple(kind for kind in OFFERED_KINDS if kind in KINDS_OF_THE_BOOKS)


def _validate_kinds(settings: Settings, kinds: Sequence[str]) -> list[str]:
    chosen: list[str] = [kind for kind in offered_kinds(settings) if kind in kinds]
    if not chosen or len(chosen) != len(set(kinds)):
        raise InvalidField(f"Choose at least one kind of event. {NOTHING_SAVED}", field="kinds")
    return chosen
