"""API tokens: what a program reads the books with, and nothing else.

A token is made by a colleague who may read the books, has a name, scopes and a last day, and is
shown once. Stored is its SHA-256 and its first letters, by which people recognise it. It ends on
its last day, when somebody revokes it, and at once when its colleague is removed, loses a device,
gets a role that may not make one, or their access ends. Of its use only the day of the last one is
stored: no address and no time.
"""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from enum import StrEnum

from sqlalchemy import CheckConstraint, Date, ForeignKey, Index, String, delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core.errors import InvalidField, NotFound, PaymentsError
from payments.core.identifiers import is_row_id, new_row_id
from payments.infra import audit_log, db
from payments.infra.audit_log import AuditAction
from payments.staff import accounts
from payments.staff.accounts import Role, Staff

TOKEN_ROLES = frozenset({Role.FINANCE, Role.ADMIN})  # whose tokens count
TOKEN_PREFIX = "rpf_"  # noqa: S105 - what every token begins with; scanners for secrets find it
PUBLIC_LENGTH = len(TOKEN_PREFIX) + 8  # letters that are stored and shown
SECRET_BYTES = 32
MAX_TOKEN_LENGTH = 100
NAME_MAX_LENGTH = 60
DEFAULT_DAYS, MAX_DAYS = 90, 366
MAX_TOKENS = 20  # of one colleague at a time
ENDED_RETENTION = timedelta(days=30)


class TokenScope(StrEnum):
    """What a token may read. No scope lets a program change anything."""

    REPORTS = "read:reports"  # sums and periods
    TRANSACTIONS = "read:transactions"  # each movement, payout, refund and dispute
    AUDIT = "read:audit"  # who did what
    EXPORTS = "read:exports"  # journals and packs, as files


class TokenRefused(PaymentsError):
    """A call without a token that counts."""

    status = 401
    code = "token-refused"
    title = "This needs a token"


class ScopeMissing(PaymentsError):
    """The token does not have the scope."""

    status = 403
    code = "scope-missing"
    title = "This token may not read this"


class ApiToken(db.Base):
    """A token. `prefix` is its first letters, `scopes` its scopes with blanks between them."""

    __tablename__ = "api_tokens"
    __table_args__ = (
        CheckConstraint("expires_at > created_at", name="expires_later"),
        Index("uq_api_tokens_name", "name", unique=True, postgresql_where="revoked_at IS NULL"),
    )

    id: Mapped[db.Id] = mapped_column(primary_key=True)
    staff_id: Mapped[db.Id] = mapped_column(ForeignKey("staff.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(NAME_MAX_LENGTH))
    prefix: Mapped[str] = mapped_column(String(PUBLIC_LENGTH), unique=True)
    token_sha256: Mapped[bytes]
    scopes: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[db.Timestamp]
    expires_at: Mapped[db.Timestamp]
    revoked_at: Mapped[db.Timestamp | None]
    last_used_on: Mapped[date | None] = mapped_column(Date)

    @property
    def label(self) -> str:
        """The name and the first letters, for the audit log."""
        return f"{self.name} ({self.prefix})"

    def has(self, scope: TokenScope) -> bool:
        """Whether the token has a scope."""
        return scope in self.scopes.split()

    def is_live(self, now: datetime) -> bool:
        """Whether neither its last day nor a colleague has ended it."""
        return self.revoked_at is None and self.expires_at > now


# --- made and ended -------------------------------------------------------------------------------


async def create(
    session: AsyncSession,
    colleague: Staff,
    *,
    name: str,
    scopes: Sequence[str],
    days: int,
    now: datetime,
    by: Staff | None = None,
) -> tuple[str, ApiToken]:
    """Return a new token, which is not stored, and its row. It counts for so many days.

    `by` is None on the command line. Raises InvalidField.
    """
    if colleague.role not in TOKEN_ROLES:
        raise InvalidField(
            f"The role {colleague.role} does not read the books, so no token was made.",
            field="colleague",
        )
    await session.scalar(select(Staff.id).where(Staff.id == colleague.id).with_for_update())
    name = _validate_name(name)
    chosen = [scope for scope in TokenScope if scope in scopes]
    if not chosen or len(chosen) != len(set(scopes)):
        raise InvalidField(
            f"Choose what it may read: {', '.join(TokenScope)}. No token was made.", field="scope"
        )
    if not 1 <= days <= MAX_DAYS:
        raise InvalidField(
            f"days: 1 to {MAX_DAYS}, after which the token ends. No token was made.", field="days"
        )
    await _refuse_same_name_or_too_many(session, colleague, name, now)
    public = TOKEN_PREFIX + secrets.token_hex((PUBLIC_LENGTH - len(TOKEN_PREFIX)) // 2)
    token = f"{public}_{secrets.token_urlsafe(SECRET_BYTES)}"
    row = ApiToken(
        id=new_row_id(),
        staff_id=colleague.id,
        name=name,
        prefix=public,
        token_sha256=_sha256(token),
        scopes=" ".join(chosen),
        created_at=now,
        expires_at=now + timedelta(days=days),
    )
    session.add(row)
    await _record(session, AuditAction.API_TOKEN_CREATED, row, by=by, reason=row.scopes, now=now)
    return token, row


def _validate_name(name: str) -> str:
    """Return a name with single blanks. It is in the audit log for good. Raises InvalidField."""
    name = " ".join(name.split())
    if not 1 <= len(name) <= NAME_MAX_LENGTH or not name.isprintable():
        raise InvalidField(
            f"A name has 1 to {NAME_MAX_LENGTH} printable characters, such as “Spreadsheet of"
            " the board”. No token was made.",
            field="name",
        )
    try:
        return audit_log.validate_reason(name)
    except InvalidField:
        raise InvalidField(
            "A name is stored for good, so it may hold no address and no card number. No token"
            " was made.",
            field="name",
        ) from None


async def _refuse_same_name_or_too_many(
    session: AsyncSession, colleague: Staff, name: str, now: datetime
) -> None:
    """End the row of a token that is over, so that its name is free. Raises InvalidField."""
    await session.execute(
        update(ApiToken)
        .where(ApiToken.name == name, ApiToken.revoked_at.is_(None), ApiToken.expires_at <= now)
        .values(revoked_at=now)
    )
    live = [one for one in await list_all(session) if one.is_live(now)]
    if any(one.name == name for one in live):
        raise InvalidField(
            "There is a token of this name. Choose another, or revoke it first. No token was made.",
            field="name",
        )
    if sum(one.staff_id == colleague.id for one in live) >= MAX_TOKENS:
        raise InvalidField(
            f"A colleague has at most {MAX_TOKENS} tokens at a time. Revoke one first. No token"
            " was made.",
            field="name",
        )


async def list_all(session: AsyncSession, *, staff_id: str | None = None) -> list[ApiToken]:
    """Return the tokens of everybody or of one colleague, newest first, those that ended lately
    among them.
    """
    query = select(ApiToken).order_by(ApiToken.created_at.desc(), ApiToken.id)
    if staff_id is not None:
        query = query.where(ApiToken.staff_id == staff_id)
    return list(await session.scalars(query))


async def get(session: AsyncSession, token_id: str) -> ApiToken:
    """Return a token by its id. Raises NotFound."""
    row = await session.get(ApiToken, token_id) if is_row_id(token_id) else None
    if row is None:
        raise NotFound("There is no such token.")
    return row


async def get_by_name(session: AsyncSession, name: str, *, now: datetime) -> ApiToken:
    """Return the live token of a name. Raises NotFound."""
    query = select(ApiToken).where(ApiToken.name == name, ApiToken.revoked_at.is_(None))
    row = await session.scalar(query)
    if row is None or not row.is_live(now):
        raise NotFound("There is no token of this name.")
    return row


async def revoke(
    session: AsyncSession, row: ApiToken, *, now: datetime, by: Staff | None = None
) -> None:
    """End a token, from its next call on. Ending it twice is ending it once."""
    if row.revoked_at is None:
        row.revoked_at = now
        await _record(session, AuditAction.API_TOKEN_REVOKED, row, by=by, now=now)


async def revoke_all_of(
    session: AsyncSession, colleague: Staff, *, now: datetime, by: Staff | None = None
) -> None:
    """End every token of a colleague."""
    for row in await list_all(session, staff_id=colleague.id):
        if row.is_live(now):
            await revoke(session, row, now=now, by=by)


async def revoke_everybodys(session: AsyncSession, *, now: datetime) -> int:
    """End every token of every colleague. Returns how many there were."""
    live = [row for row in await list_all(session) if row.is_live(now)]
    for row in live:
        await revoke(session, row, now=now)
    return len(live)


async def purge_ended(session: AsyncSession, now: datetime) -> None:
    """Delete the rows of tokens that ended a month ago; the audit log still names them."""
    before = now - ENDED_RETENTION
    await session.execute(
        delete(ApiToken).where((ApiToken.expires_at <= before) | (ApiToken.revoked_at <= before))
    )


# --- used -----------------------------------------------------------------------------------------


async def authenticate(
    session: AsyncSession, token: str, *, now: datetime
) -> tuple[ApiToken, Staff]:
    """Return the row of a token and its colleague. The first use of a day (UTC) is in the audit
    log. Raises TokenRefused.
    """
    found = None
    if len(token) <= MAX_TOKEN_LENGTH and token.isascii():
        query = (
            select(ApiToken, Staff)
            .join(Staff, Staff.id == ApiToken.staff_id)
            .where(ApiToken.prefix == token[:PUBLIC_LENGTH])
        )
        found = (await session.execute(query)).one_or_none()
    row, colleague = found if found is not None else (None, None)
    expected = bytes(hashlib.sha256().digest_size) if row is None else row.token_sha256
    is_same = hmac.compare_digest(expected, _sha256(token))
    if row is None or colleague is None or not is_same:
        raise TokenRefused("Send a token of this service: Authorization: Bearer rpf_…")
    if not row.is_live(now) or not colleague.has_access(now):
        raise TokenRefused("This token has ended. A colleague can make another.")
    if colleague.role not in TOKEN_ROLES:
        raise TokenRefused("The role of the colleague who made this token does not read the books.")
    await _record_first_use_of_day(session, row, colleague, now)
    return row, colleague


async def _record_first_use_of_day(
    session: AsyncSession, row: ApiToken, colleague: Staff, now: datetime
) -> None:
    if row.last_used_on == now.date():
        return
    first = await session.scalar(
        update(ApiToken)
        .where(ApiToken.id == row.id, ApiToken.last_used_on.is_distinct_from(now.date()))
        .values(last_used_on=now.date())
        .returning(ApiToken.id)
    )
    if first is not None:
        await _record(session, AuditAction.API_TOKEN_USED, row, by=colleague, now=now)


async def _record(
    session: AsyncSession,
    action: AuditAction,
    row: ApiToken,
    *,
    by: Staff | None,
    reason: str = "",
    now: datetime,
) -> None:
    if by is None:
        await audit_log.record(session, action, object_id=row.label, reason=reason, now=now)
    else:
        await accounts.record_action(
            session, action, by, object_id=row.label, reason=reason, now=now
        )


def _sha256(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
