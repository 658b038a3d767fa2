"""A loop that awaits for many things goes through `isolation`, or a reason stands here."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Nothing that runs by itself: the sandbox, pages, the operator's commands, the demo.
ELSEWHERE = ("payments/sandbox", "payments/web", "payments/cli", "payments/ops/demo")
LOOPS = (ast.For, ast.AsyncFor)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
REASONS = {
    "it is the isolation": """
        infra/isolation:for_each run_steps _update_alerts infra/stripe_health:probe""",
    "each is isolated in its body": """
        accounting/integrity:_run_sql_checks ops/doctor:run_checks ops/reconcile:find_differences
        ops/reconcile:_differences_of _not_at_stripe
        ops/reconcile:_repair signups/confirmation:send_confirmations
        safety/emergency_stop:carry_out _for_each work
        safety/stop_lists:read_all
        infra/outgoing_events/delivery:deliver""",
    "it only has to do with rows of ours, in one transaction, done once more as a whole": """
        accounting/integrity:_check_and_alert _snapshot_failures
        accounting/month_snapshots:invalidate_since find_differences
        accounting/reports/variance:net_variance
        giving/campaigns:_get_running giving/campaign_totals:list_claims list_goals
        giving/card_testing:_is_start_flood
        giving/card_testing:_subscription_sessions_under_attack
        giving/unposted_charges:_alert_unattributed
        giving/charges:link_payment giving/import_unknown:find_erased
        giving/payment_intent_links:link
        giving/change_log:record_next_decision giving/invoices:sync
        giving/notices_due:notify_expiring_cards notify_upcoming_renewals
        giving/payment_notices:enqueue_statements enqueue_thanks settlement/refund_notices:enqueue
        infra/stripe_health:resume_if_well infra/job_queue:requeue_abandoned
        infra/retries:retry_objects ledger/entries:post
        ops/schedules:requeue_abandoned risk/buckets:credit risk/proof_of_work:verify
        safety/retention:purge_expired safety/stop_items:add safety/support_cases:view_case
        settlement/disputes:_update_alerts refresh_alerts settlement/importer:ledger_balance
        settlement/refund_proposals:expire
        settlement/refund_requests:_resolve_expired staff/passkeys:remove
        staff/api_tokens:revoke_all_of revoke_everybodys
        signups/newsletter_delivery:purge signups/signup:destroy_keys
        signups/signup:destroy_orphaned_keys""",
    "it only enqueues jobs, each of which fails by itself": """
        giving/outbox_sender:resend_pending giving/payment_methods:_enqueue_syncs
        giving/charges:_enqueue_subscriptions
        giving/cancellations:resume infra/job_queue:retry_failed
        infra/retries:retry_exhausted giving/second_subscriptions:enqueue_pauses
        safety/quarantine_response:resume signups/newsletter_delivery:enqueue_due retry_stuck
        signups/reminder_sender:enqueue_due webhooks/sweeps:sync_events
        infra/outgoing_events/delivery:enqueue_due
        webhooks/sweeps:sync_overdue _enqueue""",
    "its parts are of one thing, which is done whole or not at all": """
        accounting/close_pack:_write_files _program_files accounting/integrity:_check_stripe_balance
        accounting/month_snapshots:snapshot_past_months giving/change_requests:carry_out
        giving/debts:_debts_of _pay_and_void void_all
        giving/adoption:includes_charge includes_subscription
        giving/second_mail:is_held_in_place_of giving/second_subscriptions:process
        giving/subscription_mail:_other_variables
        giving/change_log:record_next_decision
        infra/stripe_health:_answers
        giving/donor_address:_find_at_stripe safety/data_requests:export_data erase
        safety/address_change:change
        settlement/refund_requests:_create_at_stripe webhooks/arrival:_has_not_arrived
        safety/quarantine_response:_cancel_subscriptions safety/stop_lists:_invoices
        safety/stop_enforcement:stop_subscription staff/oidc_provider:_verified_payload""",
    "an operator runs it, and sees how far it came": """
        giving/adoption_review:find_left_out drop giving/campaigns:apply_file ops/doctor:_check_tls
        ops/event_check:check ops/sender_records:check_settings _count_lookups _dmarc_records
        ops/stripe_setup:setup ops/stripe_setup:_ensure_webhook_endpoint
        safety/global_erasure:erase_everyone _vacuum""",
}


def reviewed() -> set[str]:
    """The functions named above. A name without a module is of the module before it."""
    found, module = set(), ""
    for names in REASONS.values():
        for name in names.split():
            if ":" in name:
                module, name = name.split(":")  # noqa: PLW2901
            found.add(f"{module}:{name}")
    return found


def awaits(node: ast.AST) -> bool:
    return any(isinstance(one, ast.Await) for one in ast.walk(node))


def loops_that_await() -> Iterator[str]:
    files = [path for room in ("payments", "webhooks") for path in (ROOT / room).rglob("*.py")]
    for path in files:
        name = path.relative_to(ROOT).as_posix().removesuffix(".py")
        if name.startswith(ELSEWHERE):
            continue
        for function in ast.walk(ast.parse(path.read_text())):
            if not isinstance(function, ast.AsyncFunctionDef):
                continue
            for node in ast.walk(function):
                in_loop = isinstance(node, LOOPS) and any(map(awaits, node.body))
                if in_loop or (isinstance(node, COMPREHENSIONS) and awaits_for_each(node)):
                    yield f"{name.removeprefix('payments/')}:{function.name}"


def awaits_for_each(node: ast.AST) -> bool:
    assert isinstance(node, COMPREHENSIONS)
    made = node.value if isinstance(node, ast.DictComp) else node.elt
    return awaits(made)


def test_every_loop_that_awaits_is_isolated_or_has_a_reason() -> None:
    assert set(loops_that_await()) - reviewed() == set()


def test_every_reason_is_still_needed() -> None:
    assert reviewed() - set(loops_that_await()) == set()
