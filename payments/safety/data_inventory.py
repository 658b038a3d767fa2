"""The data inventory: what is stored, column by column, and until when.

Every column of the schema stands in exactly one class, which a test compares, so whoever adds a
column has to say what it tells about whom. The page `/safety` is written from this, and `retention`
keeps the dates.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from payments.core.brand_settings import ArticlePolicy
from payments.core.calendar import THIRTEEN_MONTHS
from payments.core.i18n import gettext_noop

DONOR_LINK_RETENTION = THIRTEEN_MONTHS
# Twenty-five months, so that a campaign can be compared with last year's.
COUNT_RETENTION = timedelta(days=761)
# A month, in which a subscription of Stripe's that we have no row of may still turn out to be ours.
FOREIGN_RETENTION = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class DataClass:
    """Columns that tell the same kind of thing and are deleted at the same time.

    `description` and `retention` are sentences for a reader; `columns` maps a table to the names of
    its columns, separated by spaces.
    """

    description: str
    retention: str
    columns: dict[str, str]


ACCOUNTING_RECORDS = DataClass(
    gettext_noop(
        "Amounts, currencies, days, Stripe's numbers of payments, the campaign a gift came "
        "from and which of its texts was shown; and, as yes or no, whether a card was from "
        "a protected country and whether the giver's data was erased. They identify "
        "nobody."
    ),
    gettext_noop("For as long as the law requires."),
    {
        "balance_transactions": "id type reporting_category balance_type amount fee net currency"
        " fees exchange_rate source charge occurred_at available_on",
        "verified_heads": "seq hash verified_at",
        "charges": "stripe_charge_id stripe_payment_intent_id status amount currency charged_at"
        " balance_transaction synced_at",
        "payment_intent_links": "stripe_payment_intent_id contribution_id frequency"
        " interval_unit interval_count service_starts_at service_ends_at",
        "contributions": "id created_at frequency interval_unit interval_count amount currency"
        " status origin campaign variant"
        " outcome_known_at protected erased",
        "disputes": "stripe_dispute_id stripe_charge_id status amount currency reason opened_at"
        " evidence_due_at evidence_submitted is_charge_refundable is_withdrawn synced_at",
        "fraud_warnings": "stripe_warning_id stripe_charge_id fraud_type actionable warned_at"
        " synced_at",
        "late_entries": "seq booked_on",
        "daily_totals": "day frequency currency debit credit amount entries payers"
        " first_time_payers",
        "ledger_entries": "seq debit credit amount currency occurred_at balance_transaction"
        " contribution_id posting_version correction_id hash",
        "corrections": "id balance_transaction from_account debit credit amount currency booked_on"
        " concerns_month needs_approval reason proposed_at",
        "correction_decisions": "id correction_id outcome reason decided_at",
        "payout_transactions": "stripe_payout_id balance_transaction net currency",
        "payouts": "stripe_payout_id status amount currency automatic created_at arrives_on"
        " balance_transaction synced_at method reconciliation_status failure_balance_transaction"
        " failure_code transactions_listed_at",
        "account_maps": "id saved_at names",
        "accounting_zones": "id zone recorded_at reason",
        "period_closings": "id month zone closed_at last_seq chain_head checklist manifest_hash"
        " pack reopened_at reopen_reason",
        "month_snapshots": "kind month figures",
        "refund_proposals": "id stripe_charge_id amount currency reason idempotency_key proposed_at"
        " outcome refusal decided_at refund_id",
        "refunds": "id stripe_refund_id stripe_charge_id status amount currency reason"
        " idempotency_key requested_at succeeded_at balance_transaction"
        " failure_balance_transaction failure_reason synced_at",
        "subscription_changes": "id kind actor decided_at done_at failed_at stripe_setup_intent_id",
        "subscriptions": "contribution_id status frequency interval_unit interval_count amount"
        " fee_cover currency stripe_price_id"
        " started_at billing_anchor_at scheduled_end_at current_period_end is_paused resumes_at"
        " trial_ends_at"
        " ended_at missing_since synced_at",
        "unposted_transactions": "balance_transaction",
    },
)
DONOR_IDENTIFIERS = DataClass(
    gettext_noop(
        "A hash of your e-mail address, made with a secret key, so that you can find your "
        "gifts again; Stripe's numbers for you, your monthly contribution and its card; "
        "the card's expiry date; and the language we write to you in. The address itself "
        "is not here."
    ),
    gettext_noop(
        "13 months after your last gift, or after your monthly contribution has "
        "ended; or until you erase it."
    ),
    {
        "contributions": "donor_id stripe_session_id language",
        "donor_customers": "stripe_customer_id donor_id",
        "donors": "id address_hash created_at mailbox_proved invited_at invited_by",
        "muted_subscriptions": "stripe_subscription_id muted_at",
        "emergency_stop_items": "emergency_stop_id stripe_subscription_id state attempts",
        "subscription_changes": "subscription_id",
        "subscriptions": "stripe_subscription_id stripe_customer_id stripe_payment_method_id"
        " card_expires_on",
        "quarantines": "stripe_charge_id flagged_at processed_at",
    },
)
SUBSCRIPTION_MAILS = DataClass(
    gettext_noop(
        "That an e-mail about a contribution was due or sent: its kind and its day; no "
        "address, no text."
    ),
    gettext_noop("13 months."),
    {
        "outbox_mails": "id key kind status subscription_id object_id language created_at"
        " expires_at sent_at",
        "mail_refusals": "mail_hash status first_at last_at",
    },
)
SHORT_LIVED = DataClass(
    gettext_noop(
        "What one visit needs: links and codes to sign in, what we asked Stripe for, and the "
        "page that answered a form, encrypted with a key that only your browser has."
    ),
    gettext_noop("A day."),
    {
        "contributions": "idempotency_key_hash request_digest checkout_session_params checkout_url",
        "donor_sessions": "token_hash donor_id expires_at",
        "sign_in_links": "id address_hash older_hashes browser_hash token_hash code_hash"
        " code_attempts requested_at expires_at",
        "shown_pages": "id sealed key_by_ticket expires_at",
        "support_cases": "id staff_id donor_id expires_at",
    },
)
ERASURES = DataClass(
    gettext_noop(
        "If you erase your data: the hash alone, so that a late message from Stripe can't undo it."
    ),
    gettext_noop("30 days."),
    {"erasures": "address_hash erased_at"},
)
ERASED_AT_STRIPE = DataClass(
    gettext_noop(
        "If you erase your data: Stripe's numbers of you and your payments, without anything they "
        "were about, so that a colleague can have them erased at Stripe too."
    ),
    gettext_noop("Until that is done, and 7 days at most."),
    {"erased_at_stripe": "stripe_object_id erased_at"},
)
REMINDERS = DataClass(
    gettext_noop(
        "If you ask for a reminder: your address, encrypted with a key of its own that is "
        "stored apart from the database, a hash of it, your time zone and language, and "
        "the gift you had in mind."
    ),
    gettext_noop(
        "The key is destroyed when the last reminder is sent, when you cancel, or after 13 months."
    ),
    {
        "reminders": "id state address_hash address_ciphertext verified deprioritised attempts"
        " language zone frequency amount currency signed_up_on first_send_on interval_months slots"
        " slot sent_count due_on contribution_id signed_up_at confirmation_sent_at enqueued_at"
        " ended_at",
        "confirmation_mails": "address_hash sent_at",
    },
)
NEWSLETTER = DataClass(
    gettext_noop(
        "If you ask for the newsletter: your address, encrypted with a key of its own that "
        "is stored apart from the database, a hash of it that is made for this alone, and "
        "which privacy policy you agreed to."
    ),
    gettext_noop(
        "The address is erased when you have confirmed it and the newsroom's mailing "
        "system has it, usually within a minute; unconfirmed, after two days. The day and "
        "the policy's version stay for 30 days, and identify nobody."
    ),
    {
        "newsletter_signups": "id state address_hash address_ciphertext privacy_version language"
        " deprioritised attempts signed_up_at consented_at confirmation_sent_at confirmed_at"
        " delivery_started_at next_attempt_at ended_at",
    },
)
SUPPRESSIONS = DataClass(
    gettext_noop("If you ask us never to write to you again: the hash of your address."),
    gettext_noop("As long as you want it; after a bounced e-mail, for a while."),
    {"suppressed_addresses": "address_hash reason suppressed_at expires_at"},
)
RATE_LIMITS = DataClass(
    gettext_noop(
        "Against people who try stolen cards, and against floods: how many gifts a network started "
        "or tried to start, how often a contribution was changed within the hour, and how often "
        "codes for another address were asked for, under hashes with a secret key and a random "
        "number of that day, which is destroyed when the day is over. No address."
    ),
    gettext_noop("A day."),
    {
        "rate_limit_buckets": "key full_at salt_date",
        "daily_salts": "day salt",
        "used_tokens": "digest expires_at",
        "risk_state": "id restricted_until challenge_until evaluated_since trip_count",
    },
)
WEBHOOK_EVENTS = DataClass(
    gettext_noop(
        "That Stripe notified us of something, and about which payment, refund, dispute or "
        "payout; no number of you or your contribution, and never what Stripe said."
    ),
    gettext_noop("For as long as the law requires."),
    {"stripe_events": "id type object_type object_id api_version created received_at"},
)
STAFF = DataClass(
    gettext_noop("Which of our staff may see the accounts, and what they did there."),
    gettext_noop("As long as they work here; their actions, for as long as the law requires."),
    {
        "used_challenges": "challenge_sha256 expires_at",
        "audit_entries": "seq recorded_at staff_id name action object_id reason",
        "account_maps": "saved_by",
        "accounting_zones": "recorded_by",
        "api_tokens": "id staff_id name prefix token_sha256 scopes created_at expires_at"
        " revoked_at last_used_on",
        "corrections": "proposed_by proposed_by_id",
        "correction_decisions": "decided_by decided_by_id",
        "period_closings": "closed_by reopened_by",
        "refund_proposals": "proposed_by proposed_by_id decided_by decided_by_id",
        "refunds": "requested_by",
        "report_recipients": "staff_id address_sealed asked_at sent_month",
        "staff": "id name role created_at removed_at access_ends_at",
        "staff_linked_accounts": "staff_id subject_hash linked_at last_used_at",
        "staff_links": "token_sha256 staff_id expires_at",
        "staff_passkeys": "credential_id staff_id public_key sign_count registered_at last_used_at",
        "staff_sessions": "token_sha256 staff_id expires_at last_seen_at authenticated_at",
    },
)
AGGREGATE_COUNTS = DataClass(
    gettext_noop(
        "How often a campaign was shown and, in steps of ten, how many gifts a story led "
        "to, by day. They identify nobody."
    ),
    gettext_noop("25 months."),
    {
        "article_counts": "day article starts",
        "campaign_impressions": "campaign variant day impressions",
    },
)
CAMPAIGNS = DataClass(
    gettext_noop(
        "What the newsroom's campaigns say, and in tenths how far each has reached its goal."
    ),
    gettext_noop("As long as they are needed."),
    {"campaigns": "id config version experiment_round round_started_at changed_at progress"},
)
ALERTS = DataClass(
    gettext_noop(
        "What a colleague must look at, with Stripe's number of the payment or "
        "contribution it is about."
    ),
    gettext_noop(
        "Until you erase it, or 30 days after a colleague has closed it; two years where "
        "it identifies nobody."
    ),
    {"alerts": "id kind object_id job opened_at closed_at"},
)
OUTGOING_EVENTS = DataClass(
    gettext_noop(
        "For the newsroom's own programs: that a gift was paid, refunded or disputed, or that a "
        "monthly contribution began, changed, failed or ended, with its amount and its time. It "
        "identifies nobody."
    ),
    gettext_noop("14 days, or until you erase it."),
    {
        "outgoing_events": "id kind fact occurred_at recorded_at contribution_id figures",
        "event_deliveries": "event_id endpoint_id state attempts next_attempt_at last_attempt_at"
        " problem response_status response_excerpt",
    },
)
HOUSEKEEPING = DataClass(
    gettext_noop("Counts and markers that keep the service running. They identify nobody."),
    gettext_noop("Two years at most, or as long as they are needed."),
    {
        "integrity_checks": "check_name description failures checked_at",
        "reminder_counts": "month step number",
        "event_endpoints": "id name sealed kinds created_at disabled_at disabled_reason"
        " failing_since failures retry_at",
        "daily_totals_positions": "zone last_seq",
        "contributions": "dropped",
        "global_erasures": "erased_at adopt",
        "emergency_stops": "id group mode decided_at proved_at left_at_stripe lifted_at",
        "import_cursors": "name reached_at",
        "schedule_failures": "name failures failed_since",
        "stripe_accounts": "is_bound account_id livemode bound_at own_name_since",
    },
)
GIFT_ARTICLES = DataClass(  # only where PAYMENTS_ARTICLES is revenue
    gettext_noop(
        "Which story a gift began from. The newsroom reads it only in sums of several givers."
    ),
    gettext_noop(
        "13 months after your last gift, or after your monthly contribution has "
        "ended; or until you erase it."
    ),
    {"contributions": "article"},
)
DATA_CLASSES = (
    ACCOUNTING_RECORDS, DONOR_IDENTIFIERS, SUBSCRIPTION_MAILS, SHORT_LIVED, ERASURES,
    ERASED_AT_STRIPE, REMINDERS,
    NEWSLETTER, SUPPRESSIONS, RATE_LIMITS, WEBHOOK_EVENTS, STAFF, AGGREGATE_COUNTS, CAMPAIGNS,
    ALERTS, OUTGOING_EVENTS, HOUSEKEEPING, GIFT_ARTICLES,
)  # fmt: skip
NO_ARTICLE_STORED = gettext_noop(
    "Which story you read. Even where a link names one, it is not stored with a gift."
)
NEVER_STORED = (
    gettext_noop("Your name, your e-mail address in clear, your phone, your postal address."),
    gettext_noop("Your IP address, your browser, the page you came from."),
    gettext_noop("The number of your card, its bank and its country. Only Stripe sees them."),
    NO_ARTICLE_STORED,
    gettext_noop("What you ticked before you paid."),
)


def shown(articles: ArticlePolicy) -> tuple[list[DataClass], list[str]]:
    """Return what a newsroom stores and what it never does, by what it keeps of articles."""
    if articles is ArticlePolicy.REVENUE:
        return list(DATA_CLASSES), [line for line in NEVER_STORED if line is not NO_ARTICLE_STORED]
    return [one for one in DATA_CLASSES if one is not GIFT_ARTICLES], list(NEVER_STORED)


def all_columns() -> Iterator[tuple[str, str]]:
    """Yield every classified column as (table, column)."""
    for data_class in DATA_CLASSES:
        for table, columns in data_class.columns.items():
            for column in columns.split():
                yield table, column
