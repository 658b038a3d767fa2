"""A colleague at a browser, and the authenticator that holds their passkeys.

The authenticator answers the options that our pages hand to a browser, as a browser would, and can
be set to lie in each way that must be refused.
"""

import base64
import hashlib
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from webauthn.helpers import encode_cbor

from payments.staff import accounts, passkeys
from payments.staff.accounts import Role
from tests.support.donor import SAME_ORIGIN_HEADERS
from tests.support.newsroom import Newsroom
from tests.support.page import Page

HOST = "localhost"
SITE = "http://localhost:8000"  # a passkey is bound to a name, and 127.0.0.1 is none
PRESENT, VERIFIED, NEW_KEY = 0x01, 0x04, 0x40


def b64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def from_b64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class Device:
    """One passkey, and what its device says about itself."""

    id: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    count: int = 0
    increments_count: bool = True  # many devices never do
    origin: str = SITE
    host: str = HOST
    flags: int = PRESENT | VERIFIED

    def create_credential(self, options: dict[str, Any], **overrides: Any) -> str:  # noqa: ANN401
        """Answer navigator.credentials.create()."""
        numbers = self.key.public_key().public_numbers()
        x, y = (number.to_bytes(32, "big") for number in (numbers.x, numbers.y))
        public = encode_cbor({1: 2, 3: -7, -1: 1, -2: x, -3: y})
        attested = bytes(16) + len(self.id).to_bytes(2, "big") + self.id + public
        data = self._authenticator_data(NEW_KEY) + attested
        attestation = encode_cbor({"fmt": "none", "attStmt": {}, "authData": data})
        client_data = self._client_data("webauthn.create", options, **overrides)
        return self._credential_json(clientDataJSON=client_data, attestationObject=attestation)

    def get_assertion(self, options: dict[str, Any], **overrides: Any) -> str:  # noqa: ANN401
        """Answer navigator.credentials.get()."""
        self.count += self.increments_count
        data = self._authenticator_data(0)
        client_data = self._client_data("webauthn.get", options, **overrides)
        signed = self.key.sign(data + hashlib.sha256(client_data).digest(), ec.ECDSA(SHA256()))
        return self._credential_json(
            clientDataJSON=client_data, authenticatorData=data, signature=signed
        )

    def _authenticator_data(self, more: int) -> bytes:
        flags = bytes([self.flags | more])
        return hashlib.sha256(self.host.encode()).digest() + flags + self.count.to_bytes(4, "big")

    def _client_data(self, kind: str, options: dict[str, Any], **overrides: Any) -> bytes:  # noqa: ANN401
        fields = {"type": kind, "challenge": options["challenge"], "origin": self.origin}
        return json.dumps({**fields, **overrides}).encode()

    def _credential_json(self, **parts: bytes) -> str:
        response = {name: b64url(part) for name, part in parts.items()}
        return json.dumps(
            {
                "id": b64url(self.id),
                "rawId": b64url(self.id),
                "type": "public-key",
                "response": response,
            }
        )


@dataclass
class Colleague:
    """Somebody of the staff at a browser of their own."""

    room: Newsroom
    web: httpx.AsyncClient
    name: str
    role: Role
    device: Device = field(default_factory=Device)

    async def invitation_link(self) -> str:
        """What `payments staff invite` does. Gives the path of the link."""
        async with self.room.ctx.sessions.begin() as session:
            now = self.room.clock()
            token = await accounts.invite(session, self.name, role=self.role, now=now)
        return f"/staff/enter/{token}"

    async def sign_in_link(self) -> str:
        """What `payments staff link` does. Gives the path of the link."""
        async with self.room.ctx.sessions.begin() as session:
            token = await accounts.create_link(session, self.name, now=self.room.clock())
        return f"/staff/enter/{token}"

    async def opens_link(self, link: str = "") -> httpx.Response:
        """Press the button of a link, without a passkey."""
        return await self.sends(link or await self.invitation_link())

    async def enrols(self) -> httpx.Response:
        """Follow an invitation, and have a passkey made on the way in."""
        link = await self.invitation_link()
        options = passkey_options_of(await self.opens(link), link)
        return await self.sends(link, answer=self.device.create_credential(options))

    async def signs_in(self, back: str = "", **overrides: Any) -> httpx.Response:  # noqa: ANN401
        """By the passkey."""
        page = await self.opens(f"/staff/sign-in?back={back}")
        answer = self.device.get_assertion(passkey_options_of(page, "/staff/sign-in"), **overrides)
        return await self.sends("/staff/sign-in", answer=answer, back=back)

    async def confirms(self, back: str = "/finance") -> httpx.Response:
        """Prove once more who they are."""
        page = await self.opens(f"/staff/confirm?back={back}")
        answer = self.device.get_assertion(passkey_options_of(page, "/staff/confirm"))
        return await self.sends("/staff/confirm", answer=answer, back=back)

    async def opens(self, address: str, status: int = 200) -> Page:
        answer = await self.web.get(address)
        assert answer.status_code == status, (address, answer.status_code, answer.text)
        page = Page(answer.text)
        assert page.problems == [], (address, page.problems)
        assert [tag for tag, _ in page.attributes].count("h1") == 1, address
        return page

    async def sends(self, address: str, /, **fields: str) -> httpx.Response:
        """What a form on a page of ours sends."""
        return await self.web.post(address, data=fields, headers=SAME_ORIGIN_HEADERS)

    async def audit_actions(self) -> list[tuple[object, ...]]:
        """Their entries in the audit log, oldest first: the action, the object, and the reason."""
        query = "SELECT action, object_id, reason FROM audit_entries WHERE name = :who ORDER BY seq"
        return await self.room.rows(query, who=self.name)


@asynccontextmanager
async def open_colleague_browser(room: Newsroom, name: str, role: Role) -> AsyncIterator[Colleague]:
    """A colleague sits down at a browser that has no cookies of ours."""
    base = room.settings.base_url
    async with httpx.AsyncClient(transport=room.web._transport, base_url=base) as web:
        device = Device(origin=base, host=passkeys.relying_party_id(room.settings))
        yield Colleague(room, web, name, role, device)


async def invitation_path(room: Newsroom, name: str = "Ada") -> str:
    """What `payments staff invite` does, for finance. Returns the path of the link."""
    async with room.ctx.sessions.begin() as session:
        token = await accounts.invite(session, name, role=Role.FINANCE, now=room.clock())
    return f"/staff/enter/{token}"


async def redeems_link(room: Newsroom, link: str) -> httpx.Response:
    """Press the button of a link in a browser without a name."""
    return await room.web.post(link, headers=SAME_ORIGIN_HEADERS)


async def signs_in(room: Newsroom, base_url: str = "") -> str:
    """A colleague of finance follows a new link and presses its button. Returns their cookie."""
    answer = await redeems_link(room, base_url + await invitation_path(room))
    assert (answer.status_code, answer.headers["location"]) == (303, "/finance")
    room.web.cookies.clear()
    cookie: str = answer.headers["set-cookie"].partition(";")[0]
    return cookie


async def sees(room: Newsroom, cookie: str, address: str = "/finance") -> httpx.Response:
    """Open a page with a cookie."""
    return await room.web.get(address, headers={"cookie": cookie})


def passkey_options_of(page: Page, action: str) -> dict[str, Any]:
    """The question that a page hands to its browser."""
    (form,) = (
        found
        for tag, found in page.attributes
        if tag == "form" and found.get("action") == action and "data-options" in found
    )
    options: dict[str, Any] = json.loads(form["data-options"])
    return options
