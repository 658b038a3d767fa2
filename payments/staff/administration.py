"""What an administrator, or the command line, does to a colleague's account.

Each of these but a new end of access signs the colleague out everywhere in the same transaction.
`by` is the administrator, None on the command line.
"""

from datetime import datetime

from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession

from payments.infra import audit_log
from payments.infra.audit_log import AuditAction
from payments.staff import accounts, api_tokens, oidc, sessions
from payments.staff.accounts import Role, Staff
from payments.staff.passkeys import StaffPasskey


async def change_role(
    session: AsyncSession, colleague: Staff, role: Role, *, now: datetime, by: Staff | None = None
) -> None:
    """Give a colleague another role, which they have from their next sign-in on."""
    if colleague.role is role:
        return
    change = f"{colleague.role} to {role}"
    colleague.role = role
    await sessions.revoke_access(session, colleague)
    if role not in api_tokens.TOKEN_ROLES:
        await api_tokens.revoke_all_of(session, colleague, now=now, by=by)
    await accounts.record_action_on(
        session, AuditAction.ROLE_CHANGED, colleague, by=by, reason=change, now=now
    )


async def set_access_end(
    session: AsyncSession,
    colleague: Staff,
    access_ends_at: datetime | None,
    *,
    now: datetime,
    by: Staff | None = None,
) -> None:
    """Say when a colleague is let in no more; None is never. It ends then by itself.

    No session and no API token that an earlier end closed opens again.
    """
    if colleague.access_ends_at == access_ends_at:
        return
    if not colleague.has_access(now):
        await sessions.revoke_access(session, colleague)
        await api_tokens.revoke_all_of(session, colleague, now=now, by=by)
    colleague.access_ends_at = access_ends_at
    end = "no end" if access_ends_at is None else f"until {access_ends_at.isoformat()}"
    await accounts.record_action_on(
        session, AuditAction.ACCESS_END_CHANGED, colleague, by=by, reason=end, now=now
    )


async def remove(
    session: AsyncSession, colleague: Staff, *, now: datetime, by: Staff | None = None
) -> None:
    """Remove a colleague. Their row and their entries in the audit log stay."""
    colleague.removed_at = now
    await sessions.revoke_access(session, colleague)
    await api_tokens.revoke_all_of(session, colleague, now=now, by=by)
    await accounts.record_action_on(
        session, AuditAction.COLLEAGUE_REMOVED, colleague, by=by, now=now
    )


async def sign_out_everybody(session: AsyncSession, *, now: datetime) -> int:
    """End every session of every colleague, and every link that would start one. Returns how many
    sessions there were.
    """
    ended = await sessions.revoke_all(session)
    await audit_log.record(session, AuditAction.SIGNED_OUT, object_id="everybody", now=now)
    return ended


async def revoke_credentials(
    session: AsyncSession, colleague: Staff, *, by: Staff | None = None, now: datetime
) -> None:
    """Delete a colleague's passkeys and linked account, and end their API tokens: a device is lost
    that may open the two and have made the third.
    """
    await oidc.delete_linked_account(session, colleague)
    await session.execute(delete(StaffPasskey).where(StaffPasskey.staff_id == colleague.id))
    await sessions.revoke_access(session, colleague)
    await api_tokens.revoke_all_of(session, colleague, now=now, by=by)
    object_id = f"all of {colleague.name}"
    if by is None:
        await audit_log.record(session, AuditAction.PASSKEY_REMOVED, object_id=object_id, now=now)
    else:
        await accounts.record_action(
            session, AuditAction.PASSKEY_REMOVED, by, object_id=object_id, now=now
        )
