"""Donors: who may see and change a subscription, found without storing an address.

A donor is a keyed hash of the normal form of an address, and the ids of their customers at Stripe.
The address itself stays at Stripe and is fetched when a mail is due.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import ForeignKey, delete, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core.email import normalise_email
from payments.core.errors import InvalidField
from payments.core.identifiers import new_row_id
from payments.core.settings import Settings
from payments.infra import address_hash, db

HASH_PURPOSE = "donor"
INVITATION_INTERVAL = timedelta(days=30)  # to one donor whose mailbox is not proved
ERASURE_RETENTION = timedelta(days=30)  # Stripe may send events of an erased donor for so long


class Donor(db.Base):
    """Somebody who gave. `address_hash` is all that is stored of their address.

    It is null where Stripe has no address any more: then nobody can sign in, until there is one.
    Anybody can give with somebody else's address: until a link that was mailed to it is used, the
    mailbox is not proved, and no mail to it says what was given.
    """

    __tablename__ = "donors"

    id: Mapped[db.Id] = mapped_column(primary_key=True)
    address_hash: Mapped[bytes | None] = mapped_column(unique=True)
    created_at: Mapped[db.Timestamp]
    mailbox_proved: Mapped[bool] = mapped_column(default=False)
    invited_at: Mapped[db.Timestamp | None]  # last, to sign in, while the mailbox is not proved
    invited_by: Mapped[db.Id | None]  # the mail of the outbox that did


class DonorCustomer(db.Base):
    """A customer at Stripe that is this donor. Stripe creates one for each Checkout."""

    __tablename__ = "donor_customers"

    stripe_customer_id: Mapped[db.StripeId] = mapped_column(primary_key=True)
    donor_id: Mapped[db.Id] = mapped_column(ForeignKey("donors.id"), index=True)


class Erasure(db.Base):
    """A donor erased lately. Late events of Stripe must not create them anew."""

    __tablename__ = "erasures"

    address_hash: Mapped[bytes] = mapped_column(primary_key=True)
    erased_at: Mapped[db.Timestamp]


class GlobalErasure(db.Base):
    """All donors were erased at once. Nobody who gave before this is created anew."""

    __tablename__ = "global_erasures"

    erased_at: Mapped[db.Timestamp] = mapped_column(primary_key=True)
    adopt: Mapped[str]  # `PAYMENTS_ADOPT` of that moment: what it left out was not erased


async def address_hashes(settings: Settings, address: str) -> list[bytes]:
    """Return the keyed hashes of an address, the newest key's first. Raises InvalidField."""
    return await address_hash.digests(settings, HASH_PURPOSE, normalise_email(address))


async def lenient_address_hashes(settings: Settings, address: str | None) -> list[bytes]:
    """Return the hashes of an address of Stripe's, valid or not: no gift is lost over it. Empty
    where there is none.
    """
    if not address:
        return []
    try:
        return await address_hashes(settings, address)
    except InvalidField:
        return await address_hash.digests(settings, HASH_PURPOSE, address.strip().lower())


async def find_or_create(
    session: AsyncSession,
    hashes: Sequence[bytes],
    *,
    stripe_customer_id: str | None,
    contributed_at: datetime,
    now: datetime,
) -> str | None:
    """Return the id of the donor with an address, by its hashes, created if they are new, with this
    customer.

    None for a donor who was erased after `contributed_at`: they stay erased.
    """
    # This lock and the one that an erasure takes wait for each other.
    donor = await session.scalar(
        select(Donor)
        .where(Donor.address_hash.in_(hashes))
        .limit(1)
        .with_for_update(read=True, key_share=True)
    )
    erased = select(Erasure.erased_at).where(
        Erasure.address_hash.in_(hashes), Erasure.erased_at > contributed_at
    )
    if await session.scalar(erased.limit(1)) is not None:
        return None
    if await all_erased_since(session, contributed_at):
        return None
    if donor is not None and donor.address_hash != hashes[0]:
        donor.address_hash = hashes[0]  # the keys were rotated
    donor_id = donor.id if donor is not None else None
    if donor_id is None:
        await session.execute(
            insert(Donor)
            .values(id=new_row_id(), address_hash=hashes[0], created_at=now)
            .on_conflict_do_nothing(index_elements=["address_hash"])
        )
        donor_id = await session.scalar(select(Donor.id).where(Donor.address_hash == hashes[0]))
    assert donor_id is not None
    if stripe_customer_id is not None:
        await session.execute(
            insert(DonorCustomer)
            .values(stripe_customer_id=stripe_customer_id, donor_id=donor_id)
            .on_conflict_do_nothing()
        )
    return donor_id


async def all_erased_since(session: AsyncSession, moment: datetime) -> bool:
    """Whether everybody was erased after a moment."""
    return bool(await erased_by_rules(session, moment))


async def erased_by_rules(session: AsyncSession, moment: datetime) -> list[str]:
    """Return the `PAYMENTS_ADOPT` of each erasure of everybody after a moment."""
    query = select(GlobalErasure.adopt).where(GlobalErasure.erased_at > moment)
    return list(await session.scalars(query))


async def of_customer(session: AsyncSession, stripe_customer_id: str | None) -> Donor | None:
    """Return the donor that a customer at Stripe is, if it is known to be one."""
    query = select(Donor).join(DonorCustomer, DonorCustomer.donor_id == Donor.id)
    donor: Donor | None = await session.scalar(
        query.where(DonorCustomer.stripe_customer_id == stripe_customer_id)
    )
    return donor


def has_address(donor: Donor, hashes: Sequence[bytes]) -> bool:
    """Whether an address of Stripe's, by its hashes, is a donor's; none is of one without."""
    return donor.address_hash in hashes if hashes else donor.address_hash is None


async def move_customer(
    session: AsyncSession,
    hashes: Sequence[bytes],
    stripe_customer_id: str,
    *,
    now: datetime,
) -> str:
    """Make a customer at Stripe the donor of another address, or one without any. Returns their id.

    Their contributions are moved by the caller.
    """
    donor_id = None
    if not hashes:
        donor_id = new_row_id()
        await session.execute(insert(Donor).values(id=donor_id, created_at=now))
    else:
        by_address = select(Donor.id).where(Donor.address_hash.in_(hashes)).limit(1)
        donor_id = await session.scalar(by_address)
        if donor_id is None:
            await session.execute(
                insert(Donor)
                .values(id=new_row_id(), address_hash=hashes[0], created_at=now)
                .on_conflict_do_nothing(index_elements=["address_hash"])
            )
            donor_id = await session.scalar(by_address)
    assert donor_id is not None
    await session.execute(
        update(DonorCustomer)
        .where(DonorCustomer.stripe_customer_id == stripe_customer_id)
        .values(donor_id=donor_id)
    )
    return donor_id


async def customers_of(session: AsyncSession, donor_id: str) -> list[str]:
    """Return the ids of the donor's customers at Stripe."""
    query = select(DonorCustomer.stripe_customer_id).where(DonorCustomer.donor_id == donor_id)
    return list(await session.scalars(query.order_by(DonorCustomer.stripe_customer_id)))


async def find_by_hashes(session: AsyncSession, hashes: Sequence[bytes]) -> Donor | None:
    """Return the donor who has an address, by its hashes: the newest key's first."""
    query = select(Donor).where(Donor.address_hash.in_(hashes))
    query = query.order_by(Donor.address_hash != hashes[0], Donor.created_at).limit(1)
    donor: Donor | None = await session.scalar(query)
    return donor


async def prove_mailbox(session: AsyncSession, hashes: Sequence[bytes]) -> None:
    """Record that whoever has an address has used a link that was mailed to it."""
    await session.execute(
        update(Donor).where(Donor.address_hash.in_(hashes)).values(mailbox_proved=True)
    )


async def get_or_none(session: AsyncSession, donor_id: str) -> Donor | None:
    """Return a donor; None for one who was erased."""
    return await session.get(Donor, donor_id)


async def is_mailbox_proved(session: AsyncSession, donor_id: str | None) -> bool:
    """Whether the mailbox of a donor is proved to be theirs; that of nobody is not."""
    donor = None if donor_id is None else await session.get(Donor, donor_id)
    return donor is not None and donor.mailbox_proved


async def claim_invitation(
    session: AsyncSession, donor_id: str, mail_id: str, *, now: datetime
) -> bool:
    """Record that a mail of the outbox invites a donor to sign in. Returns whether it may: it is
    the same mail, tried again, or none did within `INVITATION_INTERVAL`.
    """
    claimed_id = await session.scalar(
        update(Donor)
        .where(
            Donor.id == donor_id,
            or_(
                Donor.invited_at.is_(None),
                Donor.invited_at <= now - INVITATION_INTERVAL,
                Donor.invited_by == mail_id,
            ),
        )
        .values(invited_at=now, invited_by=mail_id)
        .returning(Donor.id)
    )
    return claimed_id is not None


async def lock(session: AsyncSession, donor_id: str) -> None:
    """Lock a donor who is about to be erased, once no contribution of theirs is being recorded."""
    await session.get(Donor, donor_id, with_for_update=True)


async def record_erasure(session: AsyncSession, donor_id: str, *, now: datetime) -> None:
    """Store the hash of a donor who is about to be deleted.

    It stays for `ERASURE_RETENTION`, so that late events do not create them anew.
    """
    own_hash = select(Donor.address_hash).where(Donor.id == donor_id).scalar_subquery()
    address_hash = await session.scalar(select(own_hash))
    if address_hash is not None:
        await session.execute(
            insert(Erasure)
            .values(address_hash=address_hash, erased_at=now)
            .on_conflict_do_update(index_elements=["address_hash"], set_={"erased_at": now})
        )


async def delete_donors(session: AsyncSession, donor_ids: Sequence[str]) -> None:
    """Delete donors with the ids of their customers and, by cascade, their sessions."""
    await session.execute(delete(DonorCustomer).where(DonorCustomer.donor_id.in_(donor_ids)))
    await session.execute(delete(Donor).where(Donor.id.in_(donor_ids)))


async def purge_erasures(session: AsyncSession, now: datetime) -> None:
    """Delete the hashes of erasures that are older than their retention."""
    await session.execute(delete(Erasure).where(Erasure.erased_at < now - ERASURE_RETENTION))
