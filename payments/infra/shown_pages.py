"""Pages that a form was answered with, for ten minutes: so that Back and Reload ask for a page.

What a form answers may repeat what was typed into it. So a page is stored sealed, under a key that
only the browser has, in a table that is in no backup. The database alone opens none of them.
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
    expires_at: Mapped[db.Timestamp] = mapped_column(index=True)


class Page(msgspec.Struct, frozen=True):
    """A response: its status, its headers and its body."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


async def store(ctx: Context, page: Page, *, secret: str) -> str | None:
    """Store a page under the secret of a browser. Returns its id, or None if it is too large."""
    if len(page.body) > MAX_BYTES:
        return None
    page_id = secrets.token_hex(16)
    plain = zlib.compress(msgspec.msgpack.encode(page))
    sealed = _cipher(secret, page_id).encrypt(NONCE, plain, None)
    async with ctx.sessions.begin() as session:
        session.add(SealedPage(id=page_id, sealed=sealed, expires_at=ctx.now() + LIFETIME))
    return page_id


async def find(ctx: Context, page_id: str, *, browser_secrets: tuple[str, ...]) -> Page | None:
    """Return the page that one of these secrets opens, while it is there."""
    async with ctx.sessions() as session:
        row = await session.get(SealedPage, page_id)
    if row is None or row.expires_at <= ctx.now():
        return None
    for secret in browser_secrets:
        try:
            plain = _cipher(secret, page_id).decrypt(NONCE, row.sealed, None)
        except InvalidTag:
            continue
        return msgspec.msgpack.decode(zlib.decompress(plain), type=Page)
    return None


async def is_stored(ctx: Context, page_id: str) -> bool:
    """Whether a page is there, for whoever has its key."""
    async with ctx.sessions() as session:
        row = await session.get(SealedPage, page_id)
    return row is not None and row.expires_at > ctx.now()


async def purge(session: AsyncSession, now: datetime) -> None:
    """Delete the pages whose time is over."""
    await session.execute(delete(SealedPage).where(SealedPage.expires_at <= now))


def _cipher(secret: str, page_id: str) -> AESGCMSIV:
    info = f"payments shown page\0{page_id}".encode()
    return AESGCMSIV(HKDF(SHA256(), length=32, salt=None, info=info).derive(secret.encode()))
