"""Whatever the sandbox names can be followed: its ids, its lists and its pages."""

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from payments.sandbox import Sandbox, listen
from tests.support.rich_account import Crawler, fill
from tests.support.shop import ManualWallClock, Shop

pytestmark = pytest.mark.anyio


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as http:
        yield http


async def test_every_id_and_url_in_a_rich_account_leads_somewhere_and_is_expanded(
    shop: Shop, http: aiohttp.ClientSession, wall: ManualWallClock, tmp_path: Path
) -> None:
    await fill(shop)

    crawler = Crawler(http, shop.sandbox.url)
    await crawler.list_all()
    await crawler.follow()
    await crawler.expand_all()

    assert crawler.dead == {}
    kinds = {kind for kind, _ in crawler.objects}
    assert kinds >= {
        "balance_transaction",
        "bank_account",
        "charge",
        "checkout.session",
        "customer",
        "dispute",
        "event",
        "invoice",
        "invoice_payment",
        "payment_intent",
        "payment_link",
        "payment_method",
        "payout",
        "plan",
        "price",
        "product",
        "radar.early_fraud_warning",
        "refund",
        "setup_attempt",
        "setup_intent",
        "subscription",
        "subscription_item",
        "subscription_schedule",
        "topup",
        "webhook_endpoint",
    }
    pages = {url.removeprefix(shop.sandbox.url).split("/")[1] for url in crawler.urls}
    assert pages >= {"c", "i", "l", "mandates", "r", "receipts", "v1"}

    await _pages_move_with_a_saved_account(shop, http, wall, tmp_path)


async def _pages_move_with_a_saved_account(
    shop: Shop, http: aiohttp.ClientSession, wall: ManualWallClock, folder: Path
) -> None:
    shop.sandbox.save(folder / "state.json")
    moved = Sandbox(wall=wall)
    moved.load(folder / "state.json")
    async with listen(moved) as url:
        crawler = Crawler(http, url)
        await crawler.list_all()
        crawler.objects.clear()
        crawler.names.clear()
        crawler.urls = {each for each in crawler.urls if each.startswith(url)}
        assert len(crawler.urls) > 10
        await crawler.follow()
        assert crawler.dead == {}
    now = [row for row in moved.account.store.objects.values() if row["object"] != "event"]
    assert shop.sandbox.url not in str(now)


async def test_a_link_to_nothing_is_not_found(shop: Shop, http: aiohttp.ClientSession) -> None:
    crawler = Crawler(http, shop.sandbox.url)
    crawler.collect(
        {
            "id": "ch_nothing0",
            "object": "charge",
            "receipt_url": f"{shop.sandbox.url}/receipts/ch_nothing0",
            "payment_intent": "pi_nothing0",
        }
    )
    crawler.collect({"object": "list", "url": "/v1/nothing", "data": []})
    crawler.collect(f"{shop.sandbox.url}/mandates/NOTHING")
    crawler.collect(f"{shop.sandbox.url}/i/nothing/pdf")

    await crawler.follow()

    assert sorted(crawler.dead) == sorted(
        [
            "/v1/charges/ch_nothing0",
            "pi_nothing0",
            "/v1/nothing",
            f"{shop.sandbox.url}/receipts/ch_nothing0",
            f"{shop.sandbox.url}/mandates/NOTHING",
            f"{shop.sandbox.url}/i/nothing/pdf",
        ]
    )
