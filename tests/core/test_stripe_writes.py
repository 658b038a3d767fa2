"""Whatever we ask Stripe to change is looked at afterwards: each such call has its place here."""

from tests.support.stripe_writes import writes

# How each is looked at, with the test that has Stripe confirm it and not do it.
WRITES = {
    "the subscription is fetched and compared; tests/giving/test_change_requests.py": """
        giving/change_requests:update giving/change_requests:resume
        giving/cancellations:cancel""",
    "it is fetched, and another card in use is an error; tests/giving/test_debts.py": """
        giving/payment_methods:update giving/payment_methods:update""",
    "it is fetched, and the donor moves to what Stripe has; tests/donors/test_own_address.py": """
        safety/address_change:update""",
    "the answer is compared, and what is left raises an alert; tests/giving/test_debts.py": """
        giving/debts:pay giving/debts:void_invoice giving/debts:finalize_invoice""",
    "the answer is compared, and a page whose amount differs is not shown": """
        giving/contribution_start:create giving/payment_methods:create""",
    "the answer is compared, and raises an alert; tests/giving/test_card_testing.py": """
        giving/card_testing:expire""",
    "the answer is compared, and all is listed again; tests/safety/test_emergency_stop.py": """
        safety/stop_actions:update safety/stop_actions:cancel safety/stop_actions:expire
        safety/stop_actions:cancel safety/stop_actions:finalize_invoice
        safety/stop_actions:void_invoice safety/stop_actions:release safety/stop_actions:delete""",
    "charge and amount must be those of the request; tests/settlement/test_refunds.py": """
        settlement/refund_requests:create""",
    "it is fetched and compared; tests/settlement/test_dispute_evidence.py": """
        settlement/dispute_evidence:update settlement/dispute_evidence:close""",
    "of nothing: the connections of a client and of a job queue": """
        infra/stripe_client:close ops/worker:close""",
    "of nobody: it asks whether the key may; tests/infra/test_stripe_permissions.py": """
        infra/stripe_permissions:expire infra/stripe_permissions:pay
        infra/stripe_permissions:update infra/stripe_permissions:update
        infra/stripe_permissions:update infra/stripe_permissions:update
        infra/stripe_permissions:update infra/stripe_permissions:update""",
    "of nothing: it asks whether a kind of request is answered; tests/infra/test_outages.py": """
        infra/stripe_health:raw_request""",
    "the answer is compared, and the operator sees it; tests/ops/test_stripe_setup.py": """
        ops/stripe_setup:create ops/stripe_setup:update ops/stripe_setup:create
        ops/stripe_setup:update""",
}


def test_every_change_at_stripe_is_looked_at_afterwards() -> None:
    reviewed = [call for calls in WRITES.values() for call in calls.split()]
    assert sorted(f"{one.module}:{one.verb}" for one in writes()) == sorted(reviewed)
