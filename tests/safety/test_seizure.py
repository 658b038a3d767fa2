"""The seizure, played: whoever gets hold of one thing learns what `/safety` says, and no more.

Two people gave and one of them, and a third, are to be reminded; another reminder was cancelled.
"""

import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
import structlog
from pydantic import SecretStr
from sqlalchemy import select

from payments.core import i18n
from payments.donors import donors
from payments.infra import logs
from payments.ops import schedules
from payments.risk import buckets
from payments.safety.breaches import BREACHES, Holding
from payments.signups import address_vault, reminders
from payments.signups.reminders import Reminder
from payments.staff.accounts import Role
from tests.support import dumps
from tests.support.colleague import open_colleague_browser
from tests.support.donor import open_donor_browser
from tests.support.locales import NEWSROOM_LOCALES
from tests.support.newsroom import Newsroom, open_newsroom
from tests.support.reminders import is_reminded_in_a_week
from tests.support.secret_values import secret_named

pytestmark = pytest.mark.anyio

GAVE, WAITS, STOPPED, STRANGER = (
    f"{name}@zilpzalp.example" for name in ("gave", "waits", "stopped", "stranger")
)
OTHER_KEYS = (SecretStr(secret_named("guessed")),)
PERSONS = (b"zilpzalp", b"Wendehals", b"4242", b"127.0.0.1")


@dataclass
class Seized:
    """A newsroom, and what its processes wrote to their logs."""

    room: Newsroom
    logged: bytes


@pytest.fixture
async def seized(
    database: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> AsyncIterator[Seized]:
    logs.configure("debug")
    key_dir = str(tmp_path / "keys")
    async with open_newsroom(database, address_key_dir=key_dir) as room:
        asked = (await room.requests_contribution(500, "monthly")).json()
        await room.pays(asked["checkout_url"], email=GAVE, name="Wendehals")
        await room.runs_until_idle()
        for address in (WAITS, STOPPED):
            room.clock.advance(timedelta(minutes=1))
            async with open_donor_browser(room, address) as reader:
                await is_reminded_in_a_week(reader, address)
        ((stopped,),) = await room.rows(
            "SELECT id FROM reminders ORDER BY signed_up_at DESC, id LIMIT 1"
        )
        async with room.ctx.sessions.begin() as session:
            await reminders.cancel(session, room.settings, str(stopped), now=room.clock())
        try:
            raise ValueError(f"something broke for {GAVE}")
        except ValueError:
            structlog.get_logger().error("unexpected_error", exc_info=True, address=GAVE)
        written = capfd.readouterr()
        yield Seized(room, (written.out + written.err).encode())


def is_free_of_persons(what: bytes) -> bool:
    return not any(word in what for word in PERSONS)


async def gave_by_guess(room: Newsroom, **key: object) -> list[str]:
    """Of which addresses a guess says that they gave."""
    settings = room.settings.model_copy(update=key)
    stored = {value for (value,) in await room.rows("SELECT address_hash FROM donors")}
    guesses = (GAVE, STRANGER, WAITS, GAVE.upper())
    return [one for one in guesses if stored & {*await donors.address_hashes(settings, one)}]


async def opened(room: Newsroom, **more: object) -> list[str]:
    """Which addresses of reminders can be read."""
    settings = room.settings.model_copy(update=more)
    async with room.ctx.sessions() as session:
        rows = list(await session.scalars(select(Reminder)))
    found = []
    for row in rows:
        with contextlib.suppress(address_vault.KeyUnreadable):
            found.append(
                address_vault.decrypt(settings, row.associated_data, row.address_ciphertext)
            )
    return [address for address in found if address is not None]


async def network_rows(room: Newsroom) -> set[object]:
    return {value for (value,) in await room.rows("SELECT key FROM rate_limit_buckets")}


async def networks_known(room: Newsroom, stored: set[object], **key: object) -> bool:
    """Whether a guess finds the network that started a gift in stored rows."""
    ctx = replace(room.ctx, settings=room.settings.model_copy(update=key))
    guess = buckets.keyed_hash(ctx, "0 127.0.0.0/24")
    salts = [salt for (salt,) in await room.rows("SELECT salt FROM daily_salts")]
    salted = {hashlib.sha256(bytes(salt) + guess).digest()[:16] for salt in salts}  # type: ignore[call-overload]
    return bool(stored & {guess, *salted})


async def database_alone(seized: Seized) -> None:
    room = seized.room
    assert is_free_of_persons(dumps.rows(room))
    assert await gave_by_guess(room, secret_keys=OTHER_KEYS) == []
    assert not await networks_known(room, await network_rows(room), secret_keys=OTHER_KEYS)
    assert await opened(room, secret_keys=OTHER_KEYS) == []
    assert await opened(room, address_key_dir="/nowhere") == []


async def server_with_keys(seized: Seized) -> None:
    room = seized.room
    assert await gave_by_guess(room) == [GAVE, GAVE.upper()]
    assert await opened(room) == [WAITS]
    ((customer,),) = await room.rows("SELECT stripe_customer_id FROM donor_customers")
    fetched = await room.ctx.stripe.v1.customers.retrieve_async(str(customer))
    assert (fetched.email, fetched.name) == (GAVE, "Wendehals")
    copied = await network_rows(room)
    assert await networks_known(room, copied)  # of today
    room.clock.advance(timedelta(days=1))
    await schedules.purge_requests(room.ctx)
    assert await room.count("rate_limit_buckets") == await room.count("daily_salts") == 0
    assert not await networks_known(room, copied)  # as rows that were copied, or lie about


async def backups(seized: Seized) -> None:
    room = seized.room
    assert await opened(room, address_key_dir="/nowhere") == []  # which no backup holds
    assert await gave_by_guess(room) == [GAVE, GAVE.upper()]  # as long as our keys are the same


async def logs_alone(seized: Seized) -> None:
    assert b"unexpected_error" in seized.logged
    assert is_free_of_persons(seized.logged)
    assert not any(prefix in seized.logged for prefix in (b"cus_", b"sub_", b"pm_", b"cs_"))


async def finance_account(seized: Seized) -> None:
    async with open_colleague_browser(seized.room, "Ada", Role.FINANCE) as ada:
        await ada.opens_link()
        for address in ("/finance", "/finance/transactions", "/finance/transactions.csv"):
            answer = await ada.web.get(address)
            assert answer.status_code == 200
            assert is_free_of_persons(answer.content), address
            assert b"cus_" not in answer.content, address
        assert (await ada.web.get("/support")).status_code == 403


async def support_account(seized: Seized) -> None:
    async with open_colleague_browser(seized.room, "Sam", Role.SUPPORT) as sam:
        await sam.opens_link()
        shown = []
        for address in (GAVE, STRANGER):
            answer = await sam.sends("/support", address=address, reason="DONOR_WROTE", ticket="")
            shown.append(answer.headers.get("location", "").startswith("/support/"))
        assert shown == [True, False]
        for _ in range(18):
            await sam.sends("/support", address=STRANGER, reason="DONOR_WROTE", ticket="")
        answer = await sam.sends("/support", address=GAVE, reason="DONOR_WROTE", ticket="")
        assert answer.status_code == 429
        assert (await sam.web.get("/finance/transactions")).status_code == 403


async def mail_provider(seized: Seized) -> None:
    mails = seized.room.mails()
    assert {address for mail in mails for address in mail.to} == {WAITS, STOPPED}
    assert all(b"4242" not in mail.raw for mail in mails)


async def stripe(seized: Seized) -> None:
    (customer,) = seized.room.sandbox.account.store.of_kind("customer")
    assert (customer["email"], customer["name"]) == (GAVE, "Wendehals")


async def bank(seized: Seized) -> None:
    (charge,) = seized.room.sandbox.account.store.of_kind("charge")
    page = await seized.room.web.get("/safety")
    assert charge["calculated_statement_descriptor"] == seized.room.settings.statement_descriptor
    assert charge["calculated_statement_descriptor"] in page.text


PLAYS: dict[Holding, Callable[[Seized], Awaitable[None]]] = {
    Holding.DATABASE: database_alone,
    Holding.SERVER: server_with_keys,
    Holding.BACKUPS: backups,
    Holding.LOGS: logs_alone,
    Holding.FINANCE_ACCOUNT: finance_account,
    Holding.SUPPORT_ACCOUNT: support_account,
    Holding.MAIL_PROVIDER: mail_provider,
    Holding.STRIPE: stripe,
    Holding.BANK: bank,
}


async def test_each_holding_surrenders_what_the_page_says_and_no_more(seized: Seized) -> None:
    assert PLAYS.keys() == BREACHES.keys() == set(Holding)
    for holding in sorted(PLAYS, key=lambda one: one is Holding.SERVER):  # a day passes there
        await PLAYS[holding](seized)
    for lang in NEWSROOM_LOCALES:
        page = await seized.room.web.get(f"/safety?lang={lang}")
        catalogue = i18n.translations(lang)
        for one in BREACHES.values():
            for text in (one.holder, one.gets, one.does_not_get):
                assert lang == "en" or catalogue.gettext(text) != text, text
                assert catalogue.gettext(text).replace("'", "&#39;") in page.text
