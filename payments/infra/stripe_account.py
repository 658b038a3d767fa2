"""The Stripe account of this database: which one it is, and in which mode, bound once.

Every row is about one account in one mode. With another account's key the books would take in
money that is not theirs, and every subscription here would look gone: so nothing is imported or
swept until Stripe has said whose the key is, and another account or mode is refused. What would be
changed there is refused by `write_guard`. What had happened at Stripe before the account was bound
is history: it is imported, and nobody is mailed.
"""

from datetime import datetime

import structlog
from sqlalchemy import CheckConstraint, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core.brand_settings import DonorMails
from payments.core.errors import PaymentsError, StripePermissionMissing
from payments.infra import audit_log, db, stripe_client, write_guard
from payments.infra.audit_log import AuditAction
from payments.infra.context import Context

log = structlog.get_logger("payments.infra.stripe_account")


class WrongStripeAccount(PaymentsError):
    """The key belongs to another Stripe account or mode than this database. Nothing was done."""

    status = 503
    code = "wrong-stripe-account"
    title = "The key belongs to another Stripe account"


class AccountNotVerified(PaymentsError):
    """Nobody knows whose the key is, so what it does not find may be another account's."""

    status = 503
    code = "stripe-account-not-verified"
    title = "Whose the key is cannot be read"


class StripeAccount(db.Base):
    """The account and mode that every row of Stripe's belongs to. There is one row."""

    __tablename__ = "stripe_accounts"
    __table_args__ = (CheckConstraint("is_bound", name="there_is_one"),)

    is_bound: Mapped[bool] = mapped_column(primary_key=True)
    account_id: Mapped[db.StripeId]
    livemode: Mapped[bool]
    bound_at: Mapped[db.Timestamp]  # what happened at Stripe before is history
    # since when donors are thanked for each payment; null while they are not
    own_name_since: Mapped[db.Timestamp | None]


async def get(session: AsyncSession) -> StripeAccount | None:
    """Return the account this database is bound to, if it is bound."""
    account: StripeAccount | None = await session.scalar(select(StripeAccount))
    return account


async def is_history(session: AsyncSession, happened_at: datetime) -> bool:
    """Whether something happened at Stripe before this database was bound to the account."""
    account = await get(session)
    return account is not None and happened_at < account.bound_at


async def ensure_bound(ctx: Context) -> None:
    """Refuse to go on with a key of another account or mode; bind a database that has none yet.

    Stripe is asked once for each client. Where the key may not read its account nothing is
    refused but what needs `require_verified`, and `payments doctor` says so. Raises
    WrongStripeAccount and StripeUnavailable.
    """
    if ctx.stripe in write_guard.VERIFIED:
        return
    try:
        account_id = await _account_of_key(ctx)
    except StripePermissionMissing:
        log.warning("stripe_account_not_readable")
        return
    async with ctx.sessions.begin() as session:
        await session.execute(
            insert(StripeAccount)
            .values(is_bound=True, **_binding(ctx, account_id))
            .on_conflict_do_nothing()
        )
        problem = _describe_mismatch(ctx, await get(session), account_id)
        await write_guard.record(
            session, ctx.stripe, account_id, is_right=problem is None, now=ctx.now()
        )
    if problem is not None:
        raise WrongStripeAccount(problem)


async def require_verified(ctx: Context) -> None:
    """Refuse to go on unless Stripe has said that the key is of this database's account and mode.

    Raises AccountNotVerified, WrongStripeAccount and StripeUnavailable.
    """
    await ensure_bound(ctx)
    if ctx.stripe not in write_guard.VERIFIED:
        raise AccountNotVerified(
            "Stripe does not have an object that is here, and the key may not read whose account "
            "it is of. Nothing was changed. Give the key the permission to read its account."
        )


def _binding(ctx: Context, account_id: str) -> dict[str, str | bool | datetime | None]:
    """Return the columns of an account that is bound now."""
    is_own_name = ctx.settings.donor_mails is DonorMails.FULL
    return {
        "account_id": account_id,
        "livemode": ctx.settings.livemode,
        "bound_at": ctx.now(),
        "own_name_since": ctx.now() if is_own_name else None,
    }


async def _account_of_key(ctx: Context) -> str:
    with stripe_client.translate_errors():
        account = await ctx.stripe.v1.accounts.retrieve_current_async()
    return account.id


async def find_problem(ctx: Context) -> str | None:
    """Return how the account of the key differs from the one this database is bound to, if so."""
    account_id = await _account_of_key(ctx)
    async with ctx.sessions() as session:
        return _describe_mismatch(ctx, await get(session), account_id)


def _describe_mismatch(ctx: Context, bound: StripeAccount | None, account_id: str) -> str | None:
    livemode = ctx.settings.livemode
    if bound is None or (bound.account_id, bound.livemode) == (account_id, livemode):
        return None
    return (
        f"This database belongs to Stripe account {_describe(bound.account_id, bound.livemode)}, "
        f"and the key is of {_describe(account_id, livemode)}. Nothing was read or changed. Give "
        "it the key of its own account, or another database. If it is to belong to this account "
        f"from now on: payments stripe bind --account {account_id}"
    )


def _describe(account_id: str, livemode: bool) -> str:
    return f"{account_id} in {'live' if livemode else 'test'} mode"


async def bind(ctx: Context, account_id: str) -> str:
    """Bind the database to the account of the key, whatever it was bound to. Returns what to say.

    `account_id` must be that account's: it shows that whoever asks knows which one it is. Raises
    WrongStripeAccount.
    """
    if (actual_id := await _account_of_key(ctx)) != account_id:
        raise WrongStripeAccount(
            f"The key is of Stripe account {actual_id}, not of {account_id}. Nothing was changed."
        )
    values = _binding(ctx, account_id)
    async with ctx.sessions.begin() as session:
        await session.execute(
            insert(StripeAccount)
            .values(is_bound=True, **values)
            .on_conflict_do_update(index_elements=["is_bound"], set_=values)
        )
        await audit_log.record(
            session, AuditAction.STRIPE_ACCOUNT_BOUND, object_id=account_id, now=ctx.now()
        )
    return f"This database belongs to {_describe(account_id, ctx.settings.livemode)} from now on."
