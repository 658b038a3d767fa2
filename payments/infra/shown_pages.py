"""Pages that a form was answered with, for ten minutes: so that Back and Reload ask for a page.

What a form answers may repeat what was typed into it. So a page is stored sealed, under a key that
only the browser has, in a table that is in no backup. The database alone opens none of them.

A browser that may take no cookie gets a ticket as well, which opens its page once: then the page is
deleted or, for a browser that did take the key, the ticket is void.
"""

import secrets
import zlib
from datetime import datetime, timedelta

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import String, delete
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.infra import db
from payments.infra.context import Context

LIFETIME = timedelta(minutes=10)
MAX_BYTES = 512 * 1024
NONCE = bytes(12)  # a key seals one page


class SealedPage(db.Base):
    """A page that nobody can read without the browser it was made for."""

    __tablename__ = "shown_pages"
    __table_args__ = ({"prefixes": ["UNLOGGED"]},)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    sealed: Mapped[bytes]
    key_by_ticket: Mapped[bytes | None]  # the secret, sealed under the ticket
    expires_at: Mapped[db.Timestamp] = mapped_column(index=True)


class Page(msgspec.Struct, frozen=True):
    """A response: its status, its headers and its body."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


async def store(ctx: Context, page: Page, *, secret: str, ticket: str = "") -> str | None:
    """Store a page under the secret of a browser, and for one look under a ticket, if there is one.

    Returns its id, or None if it is too large.
    """
    if len(page.body) > MAX_BYTES:
        return None
    page_id = secrets.token_hex(16)
    plain = zlib.compress(msgspec.msgpack.encode(page))
    sealed = _cipher(secret, page_id).encrypt(NONCE, plain, None)
    async with ctx.sessions.begin() as session:
        session.add(
            SealedPage(
                id=page_id,
                sealed=sealed,
                key_by_ticket=_cipher(ticket, page_id).encrypt(NONCE, secret.encode(), None)
                if ticket
                else None,
                expires_at=ctx.now() + LIFETIME,
            )
        )
    return page_id


async def find(
    ctx: Context, page_id: str, *, browser_secrets: tuple[str, ...], ticket: str = ""
) -> Page | None:
    """Return the page that one of these secrets opens, while it is there, or else the ticket. A
    ticket opens nothing afterwards, whichever it was.
    """
    async with ctx.sessions.begin() as session:
        row = await session.get(SealedPage, page_id, with_for_update=bool(ticket))
        if row is None or row.expires_at <= ctx.now():
            return None
        for secret in browser_secrets:
            if (plain := _open(secret, page_id, row.sealed)) is not None:
                if ticket:
                    row.key_by_ticket = None
                return msgspec.msgpack.decode(zlib.decompress(plain), type=Page)
        key = _open(ticket, page_id, row.key_by_ticket) if ticket and row.key_by_ticket else None
        plain = None if key is None else _open(key.decode(), page_id, row.sealed)
        if plain is None:
            return None
        await session.delete(row)
        return msgspec.msgpack.decode(zlib.decompress(plain), type=Page)


async def purge(session: AsyncSession, now: datetime) -> None:
    """Delete the pages whose time is over."""
    await session.execute(delete(SealedPage).where(SealedPage.expires_at <= now))


def _open(secret: str, page_id: str, sealed: bytes) -> bytes | None:
    try:
        return _cipher(secret, page_id).decrypt(NONCE, sealed, None)
    except InvalidTag:
        return None


def _cipher(secret: str, page_id: str) -> AESGCMSIV:
    info = f"payments shown page\0{page_id}".encode()
    return AESGCMSIV(HKDF(SHA256(), length=32, salt=None, info=info).derive(secret.encode()))
