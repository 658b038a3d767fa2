"""The columns in which a number, hash, token, day or text could tie a person to a gift, and what an
erasure makes of each.

They are derived from the schema by their types, so whoever adds one has to say here what becomes of
it; a test enumerates them after an erasure.
"""

from collections.abc import Iterator, Mapping

from sqlalchemy import ARRAY, Boolean, Enum, Integer, MetaData, Numeric, String
from sqlalchemy.types import TypeEngine

MIN_ID_LENGTH = 32  # of text: a row's id, or longer

# Emptied, deleted or replaced by a random one: of one donor when they are erased, or of everybody.
GONE: Mapping[str, str] = {
    "confirmation_mails": "address_hash sent_at",
    "contributions": "donor_id idempotency_key_hash request_digest checkout_session_params"
    " checkout_url stripe_session_id",
    "charges": "stripe_payment_intent_id",
    "donor_customers": "stripe_customer_id donor_id",
    "donor_sessions": "token_hash donor_id expires_at",
    "donors": "id address_hash created_at invited_at invited_by",
    "emergency_stop_items": "stripe_subscription_id",
    "erased_at_stripe": "stripe_object_id erased_at",
    "erasures": "address_hash erased_at",
    "event_deliveries": "event_id endpoint_id next_attempt_at last_attempt_at response_excerpt",
    "muted_subscriptions": "stripe_subscription_id muted_at",
    "newsletter_signups": "privacy_version consented_at confirmed_at delivery_started_at"
    " next_attempt_at id address_hash address_ciphertext signed_up_at confirmation_sent_at"
    " ended_at",
    "outbox_mails": "id key subscription_id object_id created_at expires_at sent_at",
    "outgoing_events": "id fact occurred_at recorded_at contribution_id figures",
    "payment_intent_links": "stripe_payment_intent_id",
    "quarantines": "stripe_charge_id flagged_at processed_at",
    "daily_salts": "day salt",
    "rate_limit_buckets": "key full_at salt_date",
    "reminders": "zone signed_up_on first_send_on due_on contribution_id enqueued_at id"
    " address_hash address_ciphertext signed_up_at confirmation_sent_at ended_at",
    "sign_in_links": "id address_hash older_hashes browser_hash token_hash code_hash requested_at"
    " expires_at",
    "subscription_changes": "subscription_id stripe_setup_intent_id",
    "subscriptions": "stripe_subscription_id stripe_customer_id stripe_payment_method_id"
    " card_expires_on",
    "support_cases": "id staff_id donor_id expires_at",
    "suppressed_addresses": "address_hash suppressed_at expires_at",
}
# The books' own: amounts, moments and Stripe's numbers of charges. By these Stripe, and nobody
# else, can say who paid. A contribution's id stands in Stripe's metadata as well.
BOOKS: Mapping[str, str] = {
    "account_maps": "saved_at saved_by names",
    "accounting_zones": "zone recorded_at recorded_by reason",
    "balance_transactions": "id type reporting_category balance_type fees exchange_rate source"
    " charge occurred_at available_on",
    "charges": "stripe_charge_id charged_at balance_transaction synced_at",
    "contributions": "id created_at campaign variant article outcome_known_at",
    "correction_decisions": "id correction_id reason decided_at decided_by decided_by_id",
    "corrections": "id balance_transaction from_account booked_on concerns_month reason"
    " proposed_at proposed_by proposed_by_id",
    "daily_totals": "day frequency debit credit",
    "disputes": "stripe_dispute_id stripe_charge_id reason opened_at evidence_due_at synced_at",
    "fraud_warnings": "stripe_warning_id stripe_charge_id fraud_type warned_at synced_at",
    "late_entries": "booked_on",
    "ledger_entries": "occurred_at balance_transaction contribution_id correction_id hash",
    "month_snapshots": "month figures",
    "payment_intent_links": "contribution_id service_starts_at service_ends_at",
    "payout_transactions": "stripe_payout_id balance_transaction",
    "payouts": "stripe_payout_id created_at arrives_on balance_transaction synced_at method"
    " failure_balance_transaction failure_code transactions_listed_at",
    "period_closings": "month zone closed_at closed_by chain_head checklist manifest_hash pack"
    " reopened_at reopened_by reopen_reason",
    "refund_proposals": "id stripe_charge_id idempotency_key proposed_at proposed_by"
    " proposed_by_id refusal decided_at decided_by decided_by_id refund_id",
    "refunds": "id stripe_refund_id stripe_charge_id reason requested_by idempotency_key"
    " requested_at succeeded_at balance_transaction failure_balance_transaction failure_reason"
    " synced_at",
    "stripe_events": "id type object_type object_id api_version created received_at",
    "subscription_changes": "id decided_at done_at failed_at",
    "subscriptions": "contribution_id stripe_price_id started_at billing_anchor_at"
    " scheduled_end_at current_period_end resumes_at trial_ends_at ended_at missing_since"
    " synced_at",
    "unposted_transactions": "balance_transaction",
    "verified_heads": "hash verified_at",
}
# Of colleagues, of the service, or of nobody. Alerts that lead to a person are deleted as well.
OTHERS: Mapping[str, str] = {
    "alerts": "object_id job opened_at closed_at",
    "api_tokens": "id staff_id name token_sha256 scopes created_at expires_at revoked_at"
    " last_used_on",
    "article_counts": "day article",
    "audit_entries": "recorded_at staff_id name action object_id reason",
    "campaign_impressions": "campaign variant day",
    "campaigns": "id config round_started_at changed_at progress",
    "daily_totals_positions": "zone",
    "emergency_stop_items": "emergency_stop_id",
    "emergency_stops": "id decided_at proved_at left_at_stripe lifted_at",
    "event_endpoints": "id name sealed kinds created_at disabled_at failing_since retry_at",
    "global_erasures": "erased_at adopt",
    "import_cursors": "name reached_at",
    "integrity_checks": "check_name description failures checked_at",
    "mail_refusals": "mail_hash first_at last_at",  # the hash of an id of ours
    "reminder_counts": "month",
    "report_recipients": "staff_id address_sealed asked_at sent_month",
    "risk_state": "restricted_until challenge_until evaluated_since",
    "schedule_failures": "name failed_since",
    "shown_pages": "id sealed key_by_ticket expires_at",
    "staff": "id name created_at removed_at access_ends_at",
    "staff_linked_accounts": "staff_id subject_hash linked_at last_used_at",
    "staff_links": "token_sha256 staff_id expires_at",
    "staff_passkeys": "credential_id staff_id public_key registered_at last_used_at",
    "staff_sessions": "token_sha256 staff_id expires_at last_seen_at authenticated_at",
    "stripe_accounts": "account_id bound_at own_name_since",
    "used_challenges": "challenge_sha256 expires_at",
    "used_tokens": "digest expires_at",
}


def columns_in(*classes: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the columns of these classes as (table, column)."""
    for one in classes:
        for table, columns in one.items():
            for column in columns.split():
                yield table, column


def candidates(metadata: MetaData) -> Iterator[tuple[str, str]]:
    """Yield the columns of a schema that could hold an id, a hash, a token, a moment or a text."""
    for table in metadata.tables.values():
        for column in table.columns:
            if _could_identify(column.type):
                yield table.name, column.name


def _could_identify(type_: TypeEngine[object]) -> bool:
    if isinstance(type_, ARRAY):
        return _could_identify(type_.item_type)
    if isinstance(type_, String) and not isinstance(type_, Enum):
        return type_.length is None or type_.length >= MIN_ID_LENGTH
    return not isinstance(type_, Enum | Boolean | Integer | Numeric)
