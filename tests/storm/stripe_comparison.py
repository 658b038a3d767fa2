"""Comparison of our records with Stripe's, and of how often Stripe was asked."""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import stripe

from tests.support.newsroom import Newsroom

ENDED_STATUSES = ("canceled", "incomplete_expired")


async def differences_from_stripe(room: Newsroom) -> list[str]:
    """Every difference between our records and Stripe's, and failed integrity checks."""
    return [
        *await _subscriptions(room),
        *await _charges(room),
        *await _sessions(room),
        *await room.failed_integrity_checks(),
    ]


async def _subscriptions(room: Newsroom) -> list[str]:
    ours = {
        row[0]: row[1:]
        for row in await room.rows(
            "SELECT stripe_subscription_id, status, frequency, amount, currency, is_paused,"
            " resumes_at, ended_at, stripe_payment_method_id FROM subscriptions"
        )
    }
    theirs = {}
    page = await room.stripe_owner.v1.subscriptions.list_async(
        {"status": "all", "limit": 100, "expand": ["data.customer"]}
    )
    async for one in page.auto_paging_iter():
        theirs[one.id] = _subscription_row(one)
        if one.status in ENDED_STATUSES:  # what it would have been charged to no longer matters
            ours[one.id] = (*ours[one.id][:-1], theirs[one.id][-1])
    return _compare("subscription", ours, theirs)


def _subscription_row(one: stripe.Subscription) -> tuple[object, ...]:
    price = one["items"].data[0].price
    assert price.recurring is not None
    frequency = {"month": "monthly", "year": "annual"}[price.recurring.interval]
    pause = one.pause_collection
    method = one.default_payment_method
    if method is None:
        assert isinstance(one.customer, stripe.Customer)
        settings = one.customer.invoice_settings
        method = settings.default_payment_method if settings is not None else None
    return (
        one.status,
        frequency,
        price.unit_amount,
        price.currency,
        pause is not None,
        _from_unix(pause.resumes_at if pause else None),
        _from_unix(one.ended_at),
        method,
    )


def _from_unix(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


async def _charges(room: Newsroom) -> list[str]:
    ours = {
        row[0]: row[1:]
        for row in await room.rows(
            "SELECT stripe_charge_id, status, amount, currency, balance_transaction FROM charges"
            " WHERE status = 'succeeded'"
        )
    }
    theirs: dict[object, tuple[object, ...]] = {}
    page = await room.stripe_owner.v1.charges.list_async({"limit": 100})
    async for one in page.auto_paging_iter():
        if one.status == "succeeded":
            theirs[one.id] = (one.status, one.amount, one.currency, one.balance_transaction)
    return _compare("charge", ours, theirs)


async def _sessions(room: Newsroom) -> list[str]:
    ours = {
        row[0]: (row[1],)
        for row in await room.rows("SELECT stripe_session_id, status FROM contributions")
    }
    theirs = {}
    page = await room.stripe_owner.v1.checkout.sessions.list_async({"limit": 100})
    async for one in page.auto_paging_iter():
        if one.mode != "setup":
            theirs[one.id] = (_status(one),)
    return _compare("session", ours, theirs)


def _status(session: stripe.checkout.Session) -> str:
    if session.status == "complete":
        return "paid" if session.payment_status == "paid" else "processing"
    assert session.status is not None
    return session.status


def _compare(
    noun: str,
    ours: Mapping[Any, tuple[object, ...]],
    theirs: Mapping[Any, tuple[object, ...]],
) -> list[str]:
    return [
        f"{noun} {id_}: we have {ours.get(id_)}, Stripe has {theirs.get(id_)}"
        for id_ in sorted(ours.keys() | theirs.keys(), key=str)
        if ours.get(id_) != theirs.get(id_)
    ]


async def mails_sent_twice(room: Newsroom) -> list[str]:
    """Mails that arrived twice, that are not in the outbox as sent, or that did not arrive."""
    sent = {
        str(row[0]) for row in await room.rows("SELECT id FROM outbox_mails WHERE status = 'sent'")
    }
    counts = Counter(str(mail.parsed["Message-ID"]) for mail in room.mails())
    arrived = {name.partition("@")[0].lstrip("<") for name in counts}
    return [
        *(f"{name}: {count} times" for name, count in counts.items() if count > 1),
        *(f"{name} is not in the outbox" for name in arrived - sent),
        *(f"{name} did not arrive" for name in sent - arrived),
    ]


def stripe_request_counts(room: Newsroom) -> tuple[int, int]:
    """How many requests to Stripe were about one object, and how many for a page of a list."""
    requests = [one for one in room.sandbox.requests if one.path.startswith("/v1/")]
    pages = sum(1 for one in requests if one.method == "GET" and "_" not in one.path.split("/")[-1])
    return len(requests) - pages, pages
