"""An OpenID Connect provider at a port of this machine, with somebody who is signed in there.

It issues a code once, for the PKCE verifier it was asked with, and signs its ID tokens. It can be
set to lie in each way that must be refused.
"""

import asyncio
import base64
import hashlib
import json
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote_plus, urlencode

from aiohttp import web
from joserfc import jwk, jwt
from joserfc.jws import JWSRegistry

from tests.support.newsroom import NOON
from tests.support.ports import reserve_port

CLIENT, SECRET = "reader-payments", "a secret that the operator was given, over 32 bytes"
RSA = jwk.RSAKey.generate_key(2048, {"kid": "first", "use": "sig"})
OTHER_RSA = jwk.RSAKey.generate_key(2048, {"kid": "first", "use": "sig"})
NEXT_KEY = jwk.ECKey.generate_key("P-256", {"kid": "second", "use": "sig"})
Claims = dict[str, Any]


def b64url_json(what: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(what).encode()).rstrip(b"=").decode()


@dataclass
class OidcProvider:
    """Whom it says signed in and when, and the lies it is set to."""

    port: int = 0
    now: Callable[[], datetime] = lambda: NOON
    subject: str | None = "4711"  # nobody: it lets nobody in
    signed_in_at: datetime | None = (
        None  # there, before they were sent; None: whenever they are asked
    )
    sends_auth_time: bool = True
    honours_prompt: bool = True  # asks again who they are, when `prompt=login` says so
    shows_page: bool = False  # a page with a link, as to a person; not at once on
    keys: list[Any] = field(default_factory=lambda: [RSA])
    signing_key: Any = field(default_factory=lambda: RSA)
    algorithm: str = "RS256"
    claim_overrides: Claims = field(default_factory=dict)  # in the token; None leaves a claim out
    discovery_overrides: Claims = field(default_factory=dict)
    canned_responses: dict[str, web.Response] = field(default_factory=dict)  # instead, by path
    requests: list[web.BaseRequest] = field(default_factory=list)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    token_requests: list[dict[str, str]] = field(default_factory=list)
    _runner: web.ServerRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def settings(self) -> dict[str, object]:
        """What an operator sets."""
        return {
            "oidc_issuer": self.url,
            "oidc_client_id": CLIENT,
            "oidc_client_secret": SECRET,
        }

    def request_count(self, path: str) -> int:
        return sum(1 for one in self.requests if one.path == path)

    async def open(self) -> None:
        """Be there, at the same port as before."""
        self._runner = web.ServerRunner(web.Server(self._answer))
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def aclose(self) -> None:
        """Be away."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append(request)
        if request.path in self.canned_responses:
            # An answer is sent once; so it is made anew.
            like = self.canned_responses[request.path]
            return web.Response(status=like.status, body=like.body, headers=like.headers)
        match request.path:
            case "/.well-known/openid-configuration":
                return web.json_response(self._discovery())
            case "/authorize":
                return self._authorize(dict(request.query))
            case "/token":
                return self._exchange_code(request, dict(await request.post()))  # type: ignore[arg-type]  # no files
            case "/keys":
                stored = [key.as_dict(private=False) for key in self.keys]
                return web.json_response({"keys": [{"kty": "oct", "k": "c2VjcmV0"}, *stored]})
        return web.Response(status=404)

    def _discovery(self) -> Claims:
        ends = {
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
        }
        return {
            "issuer": self.url,
            **ends,
            "scopes_supported": ["openid"],
            **self.discovery_overrides,
        }

    def _authorize(self, authorize_params: dict[str, str]) -> web.StreamResponse:
        state = {"state": authorize_params["state"]}
        if self.subject is None:
            params = {"error": "access_denied", **state}
        else:
            code = secrets.token_urlsafe(16)
            self.codes[code] = authorize_params
            params = {"code": code, **state}
        back = f"{authorize_params['redirect_uri']}?{urlencode(params)}"
        if self.shows_page:
            link = f"<a href='{back.replace('&', '&amp;')}'>It is me</a>"
            page = f"<!doctype html><html lang='en'><title>Sign in</title>{link}</html>"
            return web.Response(text=page, content_type="text/html")
        return web.Response(status=302, headers={"location": back})

    def _exchange_code(self, request: web.BaseRequest, form: dict[str, str]) -> web.StreamResponse:
        self.token_requests.append(form)
        pair = f"{quote_plus(CLIENT)}:{quote_plus(SECRET)}"
        proof = "Basic " + base64.b64encode(pair.encode()).decode()
        posted = (form.get("client_id"), form.get("client_secret")) == (CLIENT, SECRET)
        if request.headers.get("authorization") != proof and not posted:
            return web.json_response({"error": "invalid_client"}, status=401)
        authorize_params = self.codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if (
            authorize_params is None
            or authorize_params["code_challenge"] != challenge
            or authorize_params["redirect_uri"] != form["redirect_uri"]
        ):
            return web.json_response({"error": "invalid_grant"}, status=400)
        token = self._id_token(authorize_params)
        return web.json_response({"access_token": "x", "token_type": "Bearer", "id_token": token})

    def _id_token(self, authorize_params: dict[str, str]) -> str:
        now = self.now()
        again = self.honours_prompt and (
            "login" in authorize_params.get("prompt", "") or self.signed_in_at is None
        )
        at = now if again else self.signed_in_at or now
        claims: Claims = {
            "iss": self.url,
            "sub": self.subject,
            "aud": CLIENT,
            "iat": int(now.timestamp()),
            "exp": int(now.timestamp()) + 300,
            "nonce": authorize_params["nonce"],
            "email": "ada@newsroom.example",
            **({"auth_time": int(at.timestamp())} if self.sends_auth_time else {}),
            **self.claim_overrides,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        header: Claims = {"alg": self.algorithm, "kid": getattr(self.signing_key, "kid", "first")}
        if self.algorithm == "none":
            return f"{b64url_json(header)}.{b64url_json(claims)}."
        registry = JWSRegistry(algorithms=[self.algorithm])
        return jwt.encode(header, claims, self.signing_key, registry=registry)


@asynccontextmanager
async def running_provider() -> AsyncIterator[OidcProvider]:
    with reserve_port() as port:
        service = OidcProvider(port=port)
        await service.open()
        try:
            yield service
        finally:
            await asyncio.shield(service.aclose())
