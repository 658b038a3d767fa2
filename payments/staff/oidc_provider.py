"""The newsroom's own sign-in service, spoken to by OpenID Connect: where it lets people in, and
whom it let in.

It is believed only where it names itself as the operator did. An ID token is believed only if one
of its keys signed it, by an algorithm of ours, for us alone, for this attempt, just now. It is
asked for a person's number there and for nothing about them. Each call is short, follows no
redirect and reads no more than it must; what does not change by the day is asked once an hour.
"""

import hmac
from base64 import b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, TypeVar
from urllib.parse import quote_plus, urlencode, urlsplit

import aiohttp
import msgspec
import structlog
from joserfc import jwk, jws
from joserfc.errors import InvalidKeyIdError, JoseError

from payments.core.errors import PaymentsError
from payments.core.settings import Settings

log = structlog.get_logger("payments.staff.oidc_provider")
PATIENCE = aiohttp.ClientTimeout(total=10, connect=5)
MOST = 256 * 1024  # bytes of an answer
KNOWN_FOR = timedelta(hours=1)
LEEWAY = timedelta(minutes=1)  # between its clock and ours
FRESH = timedelta(minutes=10)  # how old a token may be
# Nothing unsigned, and nothing that is signed by a secret which we hold as well.
ALGORITHMS = jws.JWSRegistry(algorithms=("RS256", "PS256", "ES256"), strict_check_header=False)
MODULUS_LEAST = 340  # characters of an RSA key of 2048 bits
SAYS = "/.well-known/openid-configuration"

Kind = TypeVar("Kind")
Pairs = dict[str, str]
Word = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class SignOnFailed(PaymentsError):
    """Nobody came in by an account elsewhere. `why` is a word for the log and the audit."""

    def __init__(self, sentence: str, why: str) -> None:
        super().__init__(sentence)
        self.why = why


class SignOnRefused(SignOnFailed):
    """What came back opens nothing."""

    status = 403
    code = "sign-on-refused"
    title = "The sign-in was not accepted"


class IssuerAway(SignOnFailed):
    """The sign-in service does not answer, or not as it should."""

    status = 503
    code = "issuer-away"
    title = "The sign-in service cannot be reached"

    def __init__(self, why: str) -> None:
        super().__init__(
            "The sign-in service did not answer as it should. Nothing was done. Try again in a "
            "while, or use a passkey or a one-time link.",
            why,
        )


class Metadata(msgspec.Struct, frozen=True):
    """What it says of itself."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


class Key(msgspec.Struct, frozen=True, omit_defaults=True):
    """The public half of a key. What a secret one would hold is not even read."""

    kty: str
    kid: str = ""
    use: str = ""
    alg: str = ""
    n: str = ""
    e: str = ""
    crv: str = ""
    x: str = ""
    y: str = ""

    @property
    def is_fit(self) -> bool:
        if self.use not in ("", "sig"):
            return False
        return self.kty == "EC" or (self.kty == "RSA" and len(self.n) >= MODULUS_LEAST)


class Keys(msgspec.Struct, frozen=True):
    keys: tuple[Key, ...]


class Answer(msgspec.Struct, frozen=True):
    """What it gives for a code."""

    id_token: str


class IdToken(msgspec.Struct, frozen=True):
    """What it signs. Whatever else a token says is not looked at."""

    iss: str
    sub: Word
    aud: str | tuple[str, ...]
    exp: float
    iat: float
    nonce: str
    azp: str | None = None
    auth_time: float | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """Who signed in there, and when, where that was said."""

    subject: str
    proved_at: datetime | None


def name(settings: Settings) -> str:
    """What colleagues know it by: its host; nothing if there is none."""
    return urlsplit(settings.oidc_issuer).hostname or ""


class Issuer:
    """The one issuer of this process, and what it said in the last hour."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._metadata: Metadata | None = None
        self._keys = jwk.KeySet([])
        self._read_at = datetime.min.replace(tzinfo=UTC)

    async def entrance(self, asked: dict[str, str], *, now: datetime) -> str:
        """Where a browser goes to sign in there. Raises IssuerAway."""
        found = await self._found(now)
        query = urlencode(
            {
                "response_type": "code",
                "scope": "openid",
                "client_id": self._settings.oidc_client_id,
                **asked,
            }
        )
        joint = "&" if urlsplit(found.authorization_endpoint).query else "?"
        return f"{found.authorization_endpoint}{joint}{query}"

    async def account(
        self, code: str, *, verifier: str, nonce: str, redirect_uri: str, now: datetime
    ) -> Account:
        """Whom a code is for. Raises SignOnRefused, IssuerAway."""
        found = await self._found(now)
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        form, headers = self._proving(found, form)
        answer = await _asked(found.token_endpoint, Answer, form=form, headers=headers)
        token = _read(IdToken, await self._verified(answer.id_token, now))
        if (why := _wrong(token, self._settings, nonce, now)) is not None:
            raise _unproven(why)
        at = token.auth_time
        proved_at = None if at is None else min(now, datetime.fromtimestamp(at, UTC))
        return Account(token.sub, proved_at)

    def _proving(self, found: Metadata, form: Pairs) -> tuple[Pairs, Pairs]:
        """A form and its headers, with our own proof in whichever place the issuer reads it."""
        secret = self._settings.oidc_client_secret
        assert secret is not None
        us, ours = self._settings.oidc_client_id, secret.get_secret_value()
        ways = found.token_endpoint_auth_methods_supported
        if "client_secret_post" in ways and "client_secret_basic" not in ways:
            return {**form, "client_id": us, "client_secret": ours}, {}
        pair = b64encode(f"{quote_plus(us)}:{quote_plus(ours)}".encode()).decode()
        return form, {"authorization": f"Basic {pair}"}

    async def _found(self, now: datetime) -> Metadata:
        if self._metadata is None or now - self._read_at >= KNOWN_FOR:
            issuer = self._settings.oidc_issuer
            found = await _asked(issuer.removesuffix("/") + SAYS, Metadata)
            ends = (found.authorization_endpoint, found.token_endpoint, found.jwks_uri)
            if found.issuer != issuer:
                raise _away("another-issuer")
            if issuer.startswith("https:") and not all(end.startswith("https://") for end in ends):
                raise _away("not-https")
            self._keys = await _keys(found)
            self._metadata, self._read_at = found, now
        return self._metadata

    async def _verified(self, token: str, now: datetime) -> bytes:
        """What a token holds, if it is signed. A key we do not know may be a new one: once."""
        found = await self._found(now)
        for again in (True, False):
            try:
                return jws.deserialize_compact(token, self._keys, registry=ALGORITHMS).payload
            except InvalidKeyIdError:
                if again:
                    self._keys = await _keys(found)
            except (JoseError, ValueError, TypeError) as error:
                raise _unproven("not-signed") from error
        raise _unproven("unknown-key")


def _wrong(token: IdToken, settings: Settings, nonce: str, now: datetime) -> str | None:
    """Why a token that is signed opens nothing all the same."""
    at, leeway = now.timestamp(), LEEWAY.total_seconds()
    us = settings.oidc_client_id
    audience = (token.aud,) if isinstance(token.aud, str) else token.aud
    wrong = {
        "another-issuer": token.iss != settings.oidc_issuer,
        "another-audience": us not in audience or (len(audience) > 1 and token.azp != us),
        "another-party": token.azp not in (None, us),
        "another-nonce": not hmac.compare_digest(token.nonce.encode(), nonce.encode()),
        "expired": token.exp + leeway <= at,
        "not-fresh": not -leeway <= at - token.iat <= FRESH.total_seconds(),
        "ahead": token.auth_time is not None and not 0 < token.auth_time <= at + leeway,
    }
    return next((why for why, so in wrong.items() if so), None)


async def _keys(found: Metadata) -> jwk.KeySet:
    """Its keys that can verify one of our algorithms. One that is odd spoils no other."""
    kept = []
    for one in (await _asked(found.jwks_uri, Keys)).keys:
        if not one.is_fit:
            continue
        try:
            kept.append(jwk.import_key(msgspec.to_builtins(one)))
        except (JoseError, ValueError, TypeError, KeyError):
            log.warning("key_not_read")
    return jwk.KeySet(kept)


async def _asked(
    url: str, kind: type[Kind], *, form: Pairs | None = None, headers: Pairs | None = None
) -> Kind:
    """What it answers, as it should be. A form is posted."""
    body = bytearray()
    try:
        async with (
            aiohttp.ClientSession(timeout=PATIENCE, cookie_jar=aiohttp.DummyCookieJar()) as http,
            http.request(
                "GET" if form is None else "POST",
                url,
                data=form,
                headers=headers,
                allow_redirects=False,
            ) as answer,
        ):
            async for part in answer.content.iter_chunked(MOST):
                body += part
                if len(body) > MOST:
                    raise _away("too-long")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise _away("no-answer") from error
    if form and answer.status in (400, 401, 403):
        raise _unproven(f"code-not-taken-{answer.status}")
    if answer.status != 200:
        raise _away(f"answered-{answer.status}")
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _away("not-understood") from error


def _read(kind: type[Kind], payload: bytes) -> Kind:
    try:
        return msgspec.json.decode(payload, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _unproven("not-understood") from error


def _away(why: str) -> IssuerAway:
    log.warning("issuer_away", outcome=why)
    return IssuerAway(why)


def _unproven(why: str) -> SignOnRefused:
    return SignOnRefused(
        "The sign-in service did not prove who you are. Nothing was done. Please try again, or use "
        "a passkey or a one-time link.",
        why,
    )
