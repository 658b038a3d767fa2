"""stripe-sync-engine copies the demo's year into PostgreSQL, and loses nothing."""

import json
from collections import Counter
from pathlib import Path

import pytest

from payments.sandbox import Sandbox
from tests.support.outside_client import needs, run
from tests.support.rich_account import list_account

pytestmark = [pytest.mark.anyio, pytest.mark.interop]

COPY = Path(__file__).with_name("copy_with_sync_engine.mjs")
TABLES = {  # what a table holds, by `object`
    "charges": "charge",
    "checkout_session_line_items": "item",
    "checkout_sessions": "checkout.session",
    "coupons": "coupon",
    "credit_notes": "credit_note",
    "customers": "customer",
    "disputes": "dispute",
    "early_fraud_warnings": "radar.early_fraud_warning",
    "invoices": "invoice",
    "payment_intents": "payment_intent",
    "payment_methods": "payment_method",
    "plans": "plan",
    "prices": "price",
    "products": "product",
    "refunds": "refund",
    "setup_intents": "setup_intent",
    "subscription_items": "subscription_item",
    "subscription_schedules": "subscription_schedule",
    "subscriptions": "subscription",
    "tax_ids": "tax_id",
}


async def test_every_table_has_as_many_rows_as_the_api_lists(
    demo_year: Sandbox, clients: Path, database: str, tmp_path: Path
) -> None:
    modules = clients / "node_modules"
    needs(modules / "@supabase" / "stripe-sync-engine", "stripe-sync-engine")

    code, output = await run(
        "node",
        COPY,
        home=tmp_path,
        STRIPE_NODE=str(modules),
        SANDBOX=demo_year.url,
        DATABASE=database,
    )

    assert code == 0, output[-2000:]
    report = json.loads(output.splitlines()[-1])
    assert report["errors"] == []
    copied = {TABLES[table]: count for table, count in report["rows"].items() if table in TABLES}
    listed = Counter(
        row["object"]
        for row in await list_account(demo_year.url)
        if row["object"] != "payment_method" or row["customer"]  # it asks for customers' only
    )
    assert copied == {kind: listed[kind] for kind in TABLES.values()}
    assert sum(copied.values()) > 800
