"""What we hold, cell by cell, and until when: one table, from which the page `/safety` is written.

Every column of the schema stands in exactly one class here; a test compares, so whoever adds a
column has to say what it tells about whom, and the page says it from then on. `retention` makes the
dates true.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from payments.core.i18n import gettext_noop

DONOR_LINK_RETENTION = timedelta(
    days=395
)  # thirteen months: a donor of last December is known this December
ALERT_RETENTION = timedelta(days=730)
COUNT_RETENTION = timedelta(days=761)  # twenty-five months: a campaign is compared with last year's


@dataclass(frozen=True, slots=True)
class DataClass:
    """Cells that tell the same kind of thing and go at the same time. `cells` is table -> columns.

    `what` and `until` are whole sentences for a reader.
    """

    description: str
    retention: str
    columns: dict[str, str]


ACCOUNTING_RECORDS = DataClass(
    gettext_noop(
        "Amounts, currencies, days, Stripe's numbers of payments, the campaign a gift came from "
        "and which of its texts was shown, and whether a card was of a protected country: yes or "
        "no. They name nobody."
    ),
    gettext_noop("As long as the law wants books to be kept."),
    {
        "balance_transactions": "id type reporting_category balance_type amount fee net currency"
        " fees exchange_rate source charge occurred_at available_on",
        "chain_heads": "seq hash proven_at",
        "charges": "stripe_charge_id stripe_payment_intent_id status amount currency charged_at"
        " balance_transaction synced_at",
        "contribution_intents": "stripe_payment_intent_id contribution_id frequency",
        "contributions": "id created_at frequency amount currency status origin campaign variant"
        " settled_at protected",
        "disputes": "stripe_dispute_id stripe_charge_id status amount currency reason opened_at"
        " evidence_due_at answered refundable synced_at",
        "fraud_warnings": "stripe_warning_id stripe_charge_id kind actionable warned_at synced_at",
        "late_lines": "seq booked_on",
        "ledger_days": "day frequency currency debit credit amount entries givers newcomers",
        "ledger_entries": "seq debit credit amount currency occurred_at balance_transaction"
        " contribution_id hash",
        "payout_transactions": "stripe_payout_id balance_transaction net currency",
        "payouts": "stripe_payout_id status amount currency automatic created_at arrives_on"
        " balance_transaction synced_at method reconciliation failure_balance_transaction"
        " failure_code listed_at",
        "period_closings": "id month zone closed_at ledger_through chain_head proofs manifest_hash"
        " pack reopened_at reopened_why",
        "recurring_months": "kind month figures",
        "refunds": "id stripe_refund_id stripe_charge_id status amount currency reason intent"
        " asked_at balance_transaction failure_balance_transaction failure_reason synced_at",
        "subscription_changes": "id kind by decided_at done_at stripe_setup_intent_id",
        "subscriptions": "contribution_id status frequency amount currency stripe_price_id"
        " started_at anchored_at ends_at renews_at pauses resumes_at ended_at synced_at",
        "waiting_transactions": "balance_transaction",
    },
)
DONOR_IDENTIFIERS = DataClass(
    gettext_noop(
        "A hash of your e-mail address, made with a secret key, so that you can find your gifts "
        "again; Stripe's numbers for you, your promise and your card; the month in which the card "
        "of a promise ends; and the language we write to you in. The address itself is not here."
    ),
    gettext_noop("13 months after your last gift, or after your promise has ended."),
    {
        "contributions": "donor_id stripe_session_id language",
        "donor_customers": "stripe_customer_id donor_id",
        "donors": "id address_hash created_at",
        "silences": "stripe_subscription_id since",
        "stop_steps": "stop_id stripe_subscription_id state tried",
        "subscription_changes": "subscription_id",
        "subscriptions": "stripe_subscription_id stripe_customer_id stripe_payment_method_id"
        " card_expires_on",
        "quarantines": "stripe_charge_id found_at done_at",
    },
)
SUBSCRIPTION_MAILS = DataClass(
    gettext_noop(
        "That a mail about a promise was due or sent: its kind and its day; no address, no text."
    ),
    gettext_noop("13 months."),
    {
        "outbox_mails": "id key kind status subscription_id subject facts language created_at"
        " expires_at sent_at"
    },
)
SHORT_LIVED = DataClass(
    gettext_noop(
        "What one visit needs: links and codes to sign in, and what Stripe was asked for."
    ),
    gettext_noop("A day."),
    {
        "contributions": "request_key request_digest checkout_request checkout_url",
        "donor_sessions": "token_hash donor_id expires_at",
        "sign_ins": "id address_hash browser_hash token_hash code_hash tries asked_at expires_at",
        "support_cases": "id staff_id donor_id expires_at",
    },
)
ERASURES = DataClass(
    gettext_noop(
        "If you erase your data: the hash alone, so that a late word of Stripe cannot undo it."
    ),
    gettext_noop("30 days."),
    {"erasures": "address_hash erased_at"},
)
REMINDERS = DataClass(
    gettext_noop(
        "If you ask for a reminder: your address, sealed under a key of its own that lies apart "
        "from the database, a hash of it, your time zone and language, and the gift you thought of."
    ),
    gettext_noop(
        "The key is destroyed when the last reminder is sent, when you cancel, or after 13 months."
    ),
    {
        "reminders": "id state address_hash sealed proved crowded tries language zone frequency"
        " amount currency asked_on first_on months turns turn mails due_on contribution_id"
        " asked_at invited_at rung_at ended_at",
        "address_invitations": "address_hash invited_at",
    },
)
NEWSLETTER = DataClass(
    gettext_noop(
        "If you ask for the newsletter: your address, sealed under a key of its own that lies "
        "apart from the database, a hash of it that is made for this alone, and which privacy "
        "policy you agreed to."
    ),
    gettext_noop(
        "The address is shredded when you have confirmed it and the newsroom's mailing system has "
        "it, usually within a minute; unconfirmed, after two days. The day and the policy's "
        "version stay for 30 days, and name nobody."
    ),
    {
        "newsletter_signups": "id state address_hash sealed privacy_version language crowded tries"
        " asked_at agreed_at invited_at proved_at trying_since next_at ended_at",
    },
)
SUPPRESSIONS = DataClass(
    gettext_noop("If you ask us never to write to you again: the hash of your address."),
    gettext_noop("As long as you want it so; after a bounced mail, for a while."),
    {"suppressed_addresses": "address_hash reason since until"},
)
RATE_LIMITS = DataClass(
    gettext_noop(
        "Against people who try stolen cards: how many gifts a network started or tried to start, "
        "under a keyed hash that is new each day. No address."
    ),
    gettext_noop("A day."),
    {
        "shield_buckets": "key full_at made_on",
        "shield_spent": "digest forget_at",
        "shield_state": "id paused_until elevated_until judged_from trips",
    },
)
WEBHOOK_EVENTS = DataClass(
    gettext_noop(
        "That Stripe told us of something, and of which of its objects; never what it said."
    ),
    gettext_noop("As long as the law wants books to be kept."),
    {"stripe_events": "id type object_type object_id api_version created received_at"},
)
STAFF = DataClass(
    gettext_noop("Who of the staff may see the books, and what they did there."),
    gettext_noop("As long as they work here, and their deeds as long as the books."),
    {
        "answered_challenges": "digest forget_at",
        "audit_entries": "seq at staff_id name deed about reason",
        "period_closings": "closed_by reopened_by",
        "refunds": "requested_by",
        "staff": "id name role created_at removed_at",
        "staff_accounts": "staff_id subject_hash tied_at used_at",
        "staff_links": "token_sha256 staff_id expires_at",
        "staff_passkeys": "credential_id staff_id public_key answers made_at used_at",
        "staff_sessions": "token_sha256 staff_id expires_at seen_at proved_at",
    },
)
AGGREGATE_COUNTS = DataClass(
    gettext_noop(
        "How often a campaign was shown and, in steps of ten, how many gifts a story led to, by "
        "day. They tell of nobody."
    ),
    gettext_noop("25 months."),
    {
        "article_counts": "day article starts",
        "campaign_counts": "campaign variant day shown",
    },
)
CAMPAIGNS = DataClass(
    gettext_noop("What the newsroom's campaigns say."),
    gettext_noop("As long as they are needed."),
    {"campaigns": "id terms version round began_at changed_at"},
)
HOUSEKEEPING = DataClass(
    gettext_noop("Counts, marks and alarms that keep the service going. They tell of nobody."),
    gettext_noop("Two years at most, or as long as they are needed."),
    {
        "alarms": "id kind subject opened_at closed_at",
        "proofs": "identity says rows checked_at",
        "reminder_counts": "month step number",
        "rollup_marks": "zone seq",
        "shreddings": "shredded_at",
        "stops": "id group mode decided_at listed_at ended_at",
        "watermarks": "name reached",
    },
)
DATA_CLASSES = (
    ACCOUNTING_RECORDS, DONOR_IDENTIFIERS, SUBSCRIPTION_MAILS, SHORT_LIVED, ERASURES, REMINDERS, NEWSLETTER, SUPPRESSIONS, RATE_LIMITS, WEBHOOK_EVENTS,
    STAFF, AGGREGATE_COUNTS, CAMPAIGNS, HOUSEKEEPING,
)  # fmt: skip
NEVER_STORED = (
    gettext_noop("Your name, your e-mail address in clear, your phone, your postal address."),
    gettext_noop("Your IP address, your browser, the page you came from."),
    gettext_noop("The number of your card, its bank and its country. Only Stripe sees them."),
    gettext_noop("Which story you read. Even where a link names one, it is not kept with a gift."),
    gettext_noop("What you ticked before you paid."),
)


def all_columns() -> Iterator[tuple[str, str]]:
    """Every classified cell as (table, column)."""
    for one in DATA_CLASSES:
        for table, columns in one.columns.items():
            for column in columns.split():
                yield table, column
