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

from payments.core.calendar import from_unix
from payments.core.errors import PaymentsError
from payments.core.settings import Settings

log = structlog.get_logger("payments.staff.oidc_provider")
HTTP_TIMEOUT = aiohttp.ClientTimeout(total=10, connect=5)
MAX_RESPONSE_BYTES = 256 * 1024  # bytes of an answer
DISCOVERY_CACHE_TTL = timedelta(hours=1)
CLOCK_LEEWAY = timedelta(minutes=1)  # between its clock and ours
MAX_TOKEN_AGE = timedelta(minutes=10)  # how old a token may be
# Nothing unsigned, and nothing that is signed by a secret which we hold as well.
SIGNATURE_ALGORITHMS = jws.JWSRegistry(
    algorithms=("RS256", "PS256", "ES256"), strict_check_header=False
)
MIN_RSA_MODULUS_CHARS = 340  # characters of an RSA key of 2048 bits
DISCOVERY_PATH = "/.well-known/openid-configuration"

Response = TypeVar("Response")
StringMap = dict[str, str]
ShortString = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class SsoFailed(PaymentsError):
    """Nobody came in by an account elsewhere. `why` is a word for the log and the audit."""

    def __init__(self, message: str, outcome: str) -> None:
        super().__init__(message)
        self.outcome = outcome


class SsoRefused(SsoFailed):
    """What came back opens nothing."""

    status = 403
    code = "sso-refused"
    title = "The sign-in was not accepted"


class ProviderUnavailable(SsoFailed):
    """The sign-in service does not answer, or not as it should."""

    status = 503
    code = "provider-unavailable"
    title = "The sign-in service cannot be reached"

    def __init__(self, outcome: str) -> None:
        super().__init__(
            "The sign-in service did not answer as it should. Nothing was done. Try again in a "
            "while, or use a passkey or a one-time link.",
            outcome,
        )


class ProviderMetadata(msgspec.Struct, frozen=True):
    """What it says of itself."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


class JsonWebKey(msgspec.Struct, frozen=True, omit_defaults=True):
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
    def is_usable(self) -> bool:
        if self.use not in ("", "sig"):
            return False
        return self.kty == "EC" or (self.kty == "RSA" and len(self.n) >= MIN_RSA_MODULUS_CHARS)


class JsonWebKeySet(msgspec.Struct, frozen=True):
    keys: tuple[JsonWebKey, ...]


class TokenResponse(msgspec.Struct, frozen=True):
    """What it gives for a code."""

    id_token: str


class IdTokenClaims(msgspec.Struct, frozen=True):
    """What it signs. Whatever else a token says is not looked at."""

    iss: str
    sub: ShortString
    aud: str | tuple[str, ...]
    exp: float
    iat: float
    nonce: str
    azp: str | None = None
    auth_time: float | None = None


@dataclass(frozen=True, slots=True)
class ExternalAccount:
    """Who signed in there, and when, where that was said."""

    subject: str
    authenticated_at: datetime | None


def provider_name(settings: Settings) -> str:
    """What colleagues know it by: its host; nothing if there is none."""
    return urlsplit(settings.oidc_issuer).hostname or ""


class OidcProvider:
    """The one issuer of this process, and what it said in the last hour."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._metadata: ProviderMetadata | None = None
        self._key_set = jwk.KeySet([])
        self._discovered_at = datetime.min.replace(tzinfo=UTC)

    async def authorization_url(self, params: dict[str, str], *, now: datetime) -> str:
        """Where a browser goes to sign in there. Raises IssuerAway."""
        found = await self._discover(now)
        query = urlencode(
            {
                "response_type": "code",
                "scope": "openid",
                "client_id": self._settings.oidc_client_id,
                **params,
            }
        )
        joint = "&" if urlsplit(found.authorization_endpoint).query else "?"
        return f"{found.authorization_endpoint}{joint}{query}"

    async def exchange_code(
        self, code: str, *, code_verifier: str, nonce: str, redirect_uri: str, now: datetime
    ) -> ExternalAccount:
        """Whom a code is for. Raises SignOnRefused, IssuerAway."""
        found = await self._discover(now)
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": code_verifier,
        }
        form, headers = self._client_auth(found, form)
        answer = await _fetch(found.token_endpoint, TokenResponse, form=form, headers=headers)
        token = _decode_claims(IdTokenClaims, await self._verified_payload(answer.id_token, now))
        if (why := _claims_error(token, self._settings, nonce, now)) is not None:
            raise _refused(why)
        at = token.auth_time
        proved_at = None if at is None else min(now, from_unix(at))
        return ExternalAccount(token.sub, proved_at)

    def _client_auth(
        self, metadata: ProviderMetadata, form: StringMap
    ) -> tuple[StringMap, StringMap]:
        """A form and its headers, with our own proof in whichever place the issuer reads it."""
        secret = self._settings.oidc_client_secret
        assert secret is not None
        us, ours = self._settings.oidc_client_id, secret.get_secret_value()
        ways = metadata.token_endpoint_auth_methods_supported
        if "client_secret_post" in ways and "client_secret_basic" not in ways:
            return {**form, "client_id": us, "client_secret": ours}, {}
        pair = b64encode(f"{quote_plus(us)}:{quote_plus(ours)}".encode()).decode()
        return form, {"authorization": f"Basic {pair}"}

    async def _discover(self, now: datetime) -> ProviderMetadata:
        if self._metadata is None or now - self._discovered_at >= DISCOVERY_CACHE_TTL:
            issuer = self._settings.oidc_issuer
            found = await _fetch(issuer.removesuffix("/") + DISCOVERY_PATH, ProviderMetadata)
            ends = (found.authorization_endpoint, found.token_endpoint, found.jwks_uri)
            if found.issuer != issuer:
                raise _unavailable("another-issuer")
            if issuer.startswith("https:") and not all(end.startswith("https://") for end in ends):
                raise _unavailable("not-https")
            self._key_set = await _fetch_key_set(found)
            self._metadata, self._discovered_at = found, now
        return self._metadata

    async def _verified_payload(self, token: str, now: datetime) -> bytes:
        """What a token holds, if it is signed. A key we do not know may be a new one: once."""
        found = await self._discover(now)
        for again in (True, False):
            try:
                return jws.deserialize_compact(
                    token, self._key_set, registry=SIGNATURE_ALGORITHMS
                ).payload
            except InvalidKeyIdError:
                if again:
                    self._key_set = await _fetch_key_set(found)
            except (JoseError, ValueError, TypeError) as error:
                raise _refused("not-signed") from error
        raise _refused("unknown-key")


def _claims_error(
    claims: IdTokenClaims, settings: Settings, nonce: str, now: datetime
) -> str | None:
    """Why a token that is signed opens nothing all the same."""
    at, leeway = now.timestamp(), CLOCK_LEEWAY.total_seconds()
    us = settings.oidc_client_id
    audience = (claims.aud,) if isinstance(claims.aud, str) else claims.aud
    wrong = {
        "another-issuer": claims.iss != settings.oidc_issuer,
        "another-audience": us not in audience or (len(audience) > 1 and claims.azp != us),
        "another-party": claims.azp not in (None, us),
        "another-nonce": not hmac.compare_digest(claims.nonce.encode(), nonce.encode()),
        "expired": claims.exp + leeway <= at,
        "not-fresh": not -leeway <= at - claims.iat <= MAX_TOKEN_AGE.total_seconds(),
        "ahead": claims.auth_time is not None and not 0 < claims.auth_time <= at + leeway,
    }
    return next((why for why, so in wrong.items() if so), None)


async def _fetch_key_set(metadata: ProviderMetadata) -> jwk.KeySet:
    """Its keys that can verify one of our algorithms. One that is odd spoils no other."""
    kept = []
    for one in (await _fetch(metadata.jwks_uri, JsonWebKeySet)).keys:
        if not one.is_usable:
            continue
        try:
            kept.append(jwk.import_key(msgspec.to_builtins(one)))
        except (JoseError, ValueError, TypeError, KeyError):
            log.warning("key_not_read")
    return jwk.KeySet(kept)


async def _fetch(
    url: str,
    response_type: type[Response],
    *,
    form: StringMap | None = None,
    headers: StringMap | None = None,
) -> Response:
    """What it answers, as it should be. A form is posted."""
    body = bytearray()
    try:
        async with (
            aiohttp.ClientSession(
                timeout=HTTP_TIMEOUT, cookie_jar=aiohttp.DummyCookieJar()
            ) as http,
            http.request(
                "GET" if form is None else "POST",
                url,
                data=form,
                headers=headers,
                allow_redirects=False,
            ) as answer,
        ):
            async for part in answer.content.iter_chunked(MAX_RESPONSE_BYTES):
                body += part
                if len(body) > MAX_RESPONSE_BYTES:
                    raise _unavailable("too-long")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise _unavailable("no-answer") from error
    if form and answer.status in (400, 401, 403):
        raise _refused(f"code-not-taken-{answer.status}")
    if answer.status != 200:
        raise _unavailable(f"answered-{answer.status}")
    try:
        return msgspec.json.decode(body, type=response_type)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _unavailable("not-understood") from error


def _decode_claims(claims_type: type[Response], payload: bytes) -> Response:
    try:
        return msgspec.json.decode(payload, type=claims_type)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _refused("not-understood") from error


def _unavailable(outcome: str) -> ProviderUnavailable:
    log.warning("issuer_away", outcome=outcome)
    return ProviderUnavailable(outcome)


def _refused(outcome: str) -> SsoRefused:
    return SsoRefused(
        "The sign-in service did not prove who you are. Nothing was done. Please try again, or use "
        "a passkey or a one-time link.",
        outcome,
    )
