"""Donors: who may see and change a promise, found without keeping an address.

A donor is a keyed hash of the normal form of an address and the ids Stripe gave them. The address
itself stays at Stripe and is asked for when a mail is due.
"""

from datetime import datetime, timedelta

from sqlalchemy import ForeignKey, delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core.email import normalise_email
from payments.core.errors import InvalidField
from payments.core.identifiers import new_row_id
from payments.core.settings import Settings
from payments.infra import db, signing

HMAC_PURPOSE = "donor"  # the purpose of the keyed hash
ERASURE_MEMORY = timedelta(days=30)  # how long Stripe may still tell of what an erased donor gave


class Donor(db.Base):
    """Somebody who gave. `address_hash` is all we know of their mailbox."""

    __tablename__ = "donors"

    id: Mapped[db.Id] = mapped_column(primary_key=True)
    address_hash: Mapped[bytes] = mapped_column(unique=True)
    created_at: Mapped[db.Timestamp]


class DonorCustomer(db.Base):
    """One of Stripe's customers that is this donor. Stripe makes one for each Checkout."""

    __tablename__ = "donor_customers"

    stripe_customer_id: Mapped[db.StripeId] = mapped_column(primary_key=True)
    donor_id: Mapped[db.Id] = mapped_column(ForeignKey("donors.id"), index=True)


class Erasure(db.Base):
    """A donor who was erased a little while ago: Stripe's late word must not bring them back."""

    __tablename__ = "erasures"

    address_hash: Mapped[bytes] = mapped_column(primary_key=True)
    erased_at: Mapped[db.Timestamp]


class GlobalErasure(db.Base):
    """Everybody who gave before was forgotten at once, and stays so."""

    __tablename__ = "global_erasures"

    erased_at: Mapped[db.Timestamp] = mapped_column(primary_key=True)


def address_hashes(settings: Settings, address: str) -> list[bytes]:
    """The keyed hashes of an address in its normal form, the newest key's first."""
    return signing.hmac_digests(settings.hmac_keys, HMAC_PURPOSE, normalise_email(address))


def _address_hashes_lenient(settings: Settings, address: str) -> list[bytes]:
    """The same for an address that Stripe holds, however odd: a gift is never lost over it."""
    try:
        return address_hashes(settings, address)
    except InvalidField:
        return signing.hmac_digests(settings.hmac_keys, HMAC_PURPOSE, address.strip().casefold())


async def find_or_create(
    session: AsyncSession,
    settings: Settings,
    *,
    address: str,
    stripe_customer_id: str | None,
    contributed_at: datetime,
    now: datetime,
) -> str | None:
    """Remember who gave, by the hash of an address that is then forgotten. Gives the donor's id.

    None for a donor who was erased after what they gave `since`: they stay forgotten.
    """
    known = _address_hashes_lenient(settings, address)
    # the lock that an erasure waits for, and that waits for an erasure
    donor = await session.scalar(
        select(Donor)
        .where(Donor.address_hash.in_(known))
        .limit(1)
        .with_for_update(read=True, key_share=True)
    )
    erased = select(Erasure.erased_at).where(
        Erasure.address_hash.in_(known), Erasure.erased_at > contributed_at
    )
    if await session.scalar(erased.limit(1)) is not None:
        return None
    shredded = select(GlobalErasure.erased_at).where(GlobalErasure.erased_at > contributed_at)
    if await session.scalar(shredded.limit(1)) is not None:
        return None
    if donor is not None and donor.address_hash != known[0]:
        donor.address_hash = known[0]  # the keys were rotated
    donor_id = donor.id if donor is not None else None
    if donor_id is None:
        await session.execute(
            insert(Donor)
            .values(id=new_row_id(), address_hash=known[0], created_at=now)
            .on_conflict_do_nothing(index_elements=["address_hash"])
        )
        donor_id = await session.scalar(select(Donor.id).where(Donor.address_hash == known[0]))
    assert donor_id is not None
    if stripe_customer_id is not None:
        await session.execute(
            insert(DonorCustomer)
            .values(stripe_customer_id=stripe_customer_id, donor_id=donor_id)
            .on_conflict_do_nothing()
        )
    return donor_id


async def customers_of(session: AsyncSession, donor_id: str) -> list[str]:
    """The donor's customers at Stripe."""
    query = select(DonorCustomer.stripe_customer_id).where(DonorCustomer.donor_id == donor_id)
    return list(await session.scalars(query.order_by(DonorCustomer.stripe_customer_id)))


async def find_by_address(session: AsyncSession, settings: Settings, *, address: str) -> str | None:
    """The id of the donor who gave with an address. Raises InvalidField for what is no address."""
    known = address_hashes(settings, address)
    found: str | None = await session.scalar(
        select(Donor.id).where(Donor.address_hash.in_(known)).order_by(Donor.created_at).limit(1)
    )
    return found


async def current_hash(session: AsyncSession, settings: Settings, address: str) -> bytes:
    """The hash of an address by the newest key. A donor known by an older one is known by it now.

    The same work is done for every address.
    """
    newest, *older = address_hashes(settings, address)
    if older:
        await session.execute(
            update(Donor)
            .where(
                Donor.address_hash.in_(older),
                ~select(Donor.id).where(Donor.address_hash == newest).exists(),
            )
            .values(address_hash=newest)
        )
    return newest


async def lock(session: AsyncSession, donor_id: str) -> None:
    """Wait for whoever is writing down a gift of this donor; whoever comes later finds nobody."""
    await session.get(Donor, donor_id, with_for_update=True)


async def erase(session: AsyncSession, donor_id: str, *, now: datetime) -> None:
    """Forget a donor: the hash of their address and their customers.

    For as long as Stripe may tell of what they gave before, the hash alone says who stays
    forgotten.
    """
    known = select(Donor.address_hash).where(Donor.id == donor_id).scalar_subquery()
    address_hash = await session.scalar(select(known))
    if address_hash is not None:
        await session.execute(
            insert(Erasure)
            .values(address_hash=address_hash, erased_at=now)
            .on_conflict_do_update(index_elements=["address_hash"], set_={"erased_at": now})
        )
    await delete_donor(session, donor_id)


async def delete_donor(session: AsyncSession, donor_id: str) -> None:
    """The same, and not even a hash says that they were here."""
    await session.execute(delete(DonorCustomer).where(DonorCustomer.donor_id == donor_id))
    await session.execute(delete(Donor).where(Donor.id == donor_id))  # and with it their sessions


async def purge_erasures(session: AsyncSession, now: datetime) -> None:
    """Forget who was erased, once Stripe tells nothing more of what they gave."""
    await session.execute(delete(Erasure).where(Erasure.erased_at < now - ERASURE_MEMORY))
