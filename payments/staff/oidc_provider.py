"""The OpenID Connect client: the newsroom's own provider, and whom it signed in.

The provider's metadata must name the issuer that the operator set. An ID token counts only if one
of the provider's keys signed it with an algorithm of ours, for us alone, for this attempt, and just
now (https://openid.net/specs/openid-connect-core-1_0.html#IDTokenValidation). The only scope is
`openid`: the subject, and nothing about a person. A call has a timeout, follows no redirect and
reads at most `MAX_RESPONSE_BYTES`; metadata and keys are cached for an hour.
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
MAX_RESPONSE_BYTES = 256 * 1024
DISCOVERY_CACHE_TTL = timedelta(hours=1)
CLOCK_LEEWAY = timedelta(minutes=1)  # between its clock and ours
MAX_TOKEN_AGE = timedelta(minutes=10)  # since it was issued
# No unsigned token, and none signed with a secret that we hold as well.
SIGNATURE_ALGORITHMS = jws.JWSRegistry(
    algorithms=("RS256", "PS256", "ES256"), strict_check_header=False
)
MIN_RSA_MODULUS_CHARS = 340  # of base64url: a modulus of 2048 bits
DISCOVERY_PATH = "/.well-known/openid-configuration"

Response = TypeVar("Response")
StringMap = dict[str, str]
ShortString = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class SsoFailed(PaymentsError):
    """A sign-in at the provider failed. `outcome` is a word for the log and the audit log."""

    def __init__(self, message: str, outcome: str) -> None:
        super().__init__(message)
        self.outcome = outcome


class SsoRefused(SsoFailed):
    """What the provider sent back is not accepted."""

    status = 403
    code = "sso-refused"
    title = "The sign-in was not accepted"


class ProviderUnavailable(SsoFailed):
    """The provider does not answer, or not as it should."""

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
    """The provider's metadata (OpenID Connect Discovery)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


class JsonWebKey(msgspec.Struct, frozen=True, omit_defaults=True):
    """The public half of a key (RFC 7517). Private fields are not read."""

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
        """Whether the key may verify signatures and is long enough."""
        if self.use not in ("", "sig"):
            return False
        return self.kty == "EC" or (self.kty == "RSA" and len(self.n) >= MIN_RSA_MODULUS_CHARS)


class JsonWebKeySet(msgspec.Struct, frozen=True):
    """The provider's keys."""

    keys: tuple[JsonWebKey, ...]


class TokenResponse(msgspec.Struct, frozen=True):
    """What the token endpoint returns for a code."""

    id_token: str


class IdTokenClaims(msgspec.Struct, frozen=True):
    """The claims of an ID token that we check. Others are not read."""

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
    """Who signed in at the provider, and when, if it says so."""

    subject: str
    authenticated_at: datetime | None


def provider_name(settings: Settings) -> str:
    """Return the provider's host, by which colleagues know it; empty if none is set."""
    return urlsplit(settings.oidc_issuer).hostname or ""


class OidcProvider:
    """The provider that the settings name, with its metadata and keys of the last hour."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._metadata: ProviderMetadata | None = None
        self._key_set = jwk.KeySet([])
        self._discovered_at = datetime.min.replace(tzinfo=UTC)

    async def authorization_url(self, params: dict[str, str], *, now: datetime) -> str:
        """Return where a browser goes to sign in. Raises ProviderUnavailable."""
        metadata = await self._discover(now)
        query = urlencode(
            {
                "response_type": "code",
                "scope": "openid",
                "client_id": self._settings.oidc_client_id,
                **params,
            }
        )
        separator = "&" if urlsplit(metadata.authorization_endpoint).query else "?"
        return f"{metadata.authorization_endpoint}{separator}{query}"

    async def exchange_code(
        self, code: str, *, code_verifier: str, nonce: str, redirect_uri: str, now: datetime
    ) -> ExternalAccount:
        """Return the account that a code is for. Raises SsoRefused, ProviderUnavailable."""
        metadata = await self._discover(now)
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": code_verifier,
        }
        form, headers = self._client_auth(metadata, form)
        response = await _fetch(metadata.token_endpoint, TokenResponse, form=form, headers=headers)
        claims = _decode_claims(IdTokenClaims, await self._verified_payload(response.id_token, now))
        if (outcome := _claims_error(claims, self._settings, nonce, now)) is not None:
            raise _refused(outcome)
        auth_time = claims.auth_time
        authenticated_at = None if auth_time is None else min(now, from_unix(auth_time))
        return ExternalAccount(claims.sub, authenticated_at)

    def _client_auth(
        self, metadata: ProviderMetadata, form: StringMap
    ) -> tuple[StringMap, StringMap]:
        """Return a form and its headers with our client secret where the provider reads it."""
        secret = self._settings.oidc_client_secret
        assert secret is not None
        client_id, client_secret = self._settings.oidc_client_id, secret.get_secret_value()
        methods = metadata.token_endpoint_auth_methods_supported
        if "client_secret_post" in methods and "client_secret_basic" not in methods:
            return {**form, "client_id": client_id, "client_secret": client_secret}, {}
        credentials = f"{quote_plus(client_id)}:{quote_plus(client_secret)}"
        return form, {"authorization": f"Basic {b64encode(credentials.encode()).decode()}"}

    async def _discover(self, now: datetime) -> ProviderMetadata:
        if self._metadata is None or now - self._discovered_at >= DISCOVERY_CACHE_TTL:
            issuer = self._settings.oidc_issuer
            metadata = await _fetch(issuer.removesuffix("/") + DISCOVERY_PATH, ProviderMetadata)
            urls = (metadata.authorization_endpoint, metadata.token_endpoint, metadata.jwks_uri)
            if metadata.issuer != issuer:
                raise _unavailable("issuer-mismatch")
            if issuer.startswith("https:") and not all(url.startswith("https://") for url in urls):
                raise _unavailable("not-https")
            self._key_set = await _fetch_key_set(metadata)
            self._metadata, self._discovered_at = metadata, now
        return self._metadata

    async def _verified_payload(self, token: str, now: datetime) -> bytes:
        """Return the payload of a signed token. For an unknown key the keys are fetched once more.

        Raises SsoRefused, ProviderUnavailable.
        """
        metadata = await self._discover(now)
        for may_refetch in (True, False):
            try:
                return jws.deserialize_compact(
                    token, self._key_set, registry=SIGNATURE_ALGORITHMS
                ).payload
            except InvalidKeyIdError:
                if may_refetch:
                    self._key_set = await _fetch_key_set(metadata)
            except (JoseError, ValueError, TypeError) as error:
                raise _refused("bad-signature") from error
        raise _refused("unknown-key")


def _claims_error(
    claims: IdTokenClaims, settings: Settings, nonce: str, now: datetime
) -> str | None:
    """Return the word for the first claim of a signed token that is wrong, or None."""
    at, leeway = now.timestamp(), CLOCK_LEEWAY.total_seconds()
    client_id = settings.oidc_client_id
    audience = (claims.aud,) if isinstance(claims.aud, str) else claims.aud
    is_for_others = len(audience) > 1 and claims.azp != client_id
    failures = {
        "issuer-mismatch": claims.iss != settings.oidc_issuer,
        "audience-mismatch": client_id not in audience or is_for_others,
        "azp-mismatch": claims.azp not in (None, client_id),
        "nonce-mismatch": not hmac.compare_digest(claims.nonce.encode(), nonce.encode()),
        "expired": claims.exp + leeway <= at,
        "issued-at-out-of-range": not -leeway <= at - claims.iat <= MAX_TOKEN_AGE.total_seconds(),
        "auth-time-out-of-range": claims.auth_time is not None
        and not 0 < claims.auth_time <= at + leeway,
    }
    return next((outcome for outcome, is_wrong in failures.items() if is_wrong), None)


async def _fetch_key_set(metadata: ProviderMetadata) -> jwk.KeySet:
    """Return the provider's usable keys. A key that cannot be read is skipped."""
    keys = []
    for key in (await _fetch(metadata.jwks_uri, JsonWebKeySet)).keys:
        if not key.is_usable:
            continue
        try:
            keys.append(jwk.import_key(msgspec.to_builtins(key)))
        except (JoseError, ValueError, TypeError, KeyError):
            log.warning("jwk_unusable")
    return jwk.KeySet(keys)


async def _fetch(
    url: str,
    response_type: type[Response],
    *,
    form: StringMap | None = None,
    headers: StringMap | None = None,
) -> Response:
    """Return the provider's JSON response, by POST if there is a form, else by GET.

    Raises SsoRefused if a form is refused, else ProviderUnavailable.
    """
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
            ) as response,
        ):
            async for chunk in response.content.iter_chunked(MAX_RESPONSE_BYTES):
                body += chunk
                if len(body) > MAX_RESPONSE_BYTES:
                    raise _unavailable("response-too-large")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise _unavailable("no-response") from error
    if form and response.status in (400, 401, 403):
        raise _refused(f"code-rejected-{response.status}")
    if response.status != 200:
        raise _unavailable(f"http-{response.status}")
    try:
        return msgspec.json.decode(body, type=response_type)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _unavailable("malformed-response") from error


def _decode_claims(claims_type: type[Response], payload: bytes) -> Response:
    try:
        return msgspec.json.decode(payload, type=claims_type)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _refused("malformed-token") from error


def _unavailable(outcome: str) -> ProviderUnavailable:
    log.warning("provider_unavailable", outcome=outcome)
    return ProviderUnavailable(outcome)


def _refused(outcome: str) -> SsoRefused:
    return SsoRefused(
        "The sign-in service did not prove who you are. Nothing was done. Please try again, or use "
        "a passkey or a one-time link.",
        outcome,
    )
