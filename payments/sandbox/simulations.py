"""Simulations: what card holders, banks, networks, the account owner and Stripe do by themselves.

Each method changes an account as the event it simulates would, and emits the same events. Arguments
and results are JSON: the control routes call these methods by name.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from payments.sandbox import (
    account_settings,
    api_keys,
    balance_adjustments,
    dashboard,
    disputes,
    fraud_warnings,
    legacy_sources,
    payment_methods,
    payouts,
    refunds,
    sepa_debit,
    unknown_values,
    webhook_deliveries,
)
from payments.sandbox.account import StripeAccount
from payments.sandbox.form_encoding import JsonObject, JsonValue


class SimulatedActions:
    """The simulations of one account, as methods of `Sandbox`.

    Ids are Stripe's, amounts minor units. An unknown id raises ApiError, KeyError or ValueError.
    """

    account: StripeAccount

    # -- dashboard, portal and cards ----------------------------------------------------------

    def dashboard_request(
        self, method: str, path: str, params: JsonObject | None = None
    ) -> JsonObject:
        """Do in Stripe's dashboard what an API request would do. Returns the response's object.

        Raises ApiError when Stripe would refuse.
        """
        return dashboard.perform(self.account, method, path, params or {})

    def set_unknown_values(
        self, object_id: str, fields: JsonObject, event_type: str | None = None
    ) -> None:
        """Give fields of an object values that no SDK knows: `{"status": "hibernating"}`.

        With an event type an event about the object is emitted.
        """
        unknown_values.set_fields(self.account, object_id, fields, event_type)

    def set_default_in_portal(
        self, customer_id: str, payment_method_id: str, *, on_subscriptions: bool = False
    ) -> str:
        """Choose a card, or a token such as `pm_card_visa`, in Stripe's portal. Returns its id."""
        method = dashboard.set_default_payment_method(
            self.account, customer_id, payment_method_id, on_subscriptions=on_subscriptions
        )
        return str(method["id"])

    def save_legacy_card(
        self, customer_id: str, card: str = "tok_visa", prefix: str = "card"
    ) -> str:
        """Save a card, by its token, as before there were payment methods. Returns its id.

        `prefix` is `card` or `src`. The first one is the customer's `default_source`.
        """
        method = legacy_sources.add_card(self.account, customer_id, card, prefix)
        return str(method["id"])

    def fail_card(self, payment_method_id: str, code: str = "generic_decline") -> None:
        """Have the bank decline a card from now on, with a code of `cards.DECLINES`."""
        payment_methods.set_decline(self.account, payment_method_id, code)

    def restore_card(self, payment_method_id: str) -> None:
        """Let a card behave as its test number does again."""
        payment_methods.clear_decline(self.account, payment_method_id)

    def update_card_by_network(
        self, payment_method_id: str, *, exp_month: int, exp_year: int, last4: str | None = None
    ) -> None:
        """Update a card through its network, after the bank has issued a new one."""
        payment_methods.update_by_network(
            self.account, payment_method_id, exp_month=exp_month, exp_year=exp_year, last4=last4
        )

    def revoke_mandate(self, payment_method_id: str) -> None:
        """Revoke the mandate of a SEPA debit: its later debits fail."""
        method = payment_methods.get(self.account, payment_method_id)
        sepa_debit.revoke_mandate(self.account, method)

    def set_billing(self, **fields: JsonValue) -> None:
        """Change fields of the BillingSettings; raises TypeError or ValueError for wrong ones."""
        self.account.billing = replace(self.account.billing, **fields)

    def roll_secret(self, endpoint_id: str, *, overlap_hours: float = 24) -> str:
        """Replace a webhook endpoint's secret; both sign until the overlap ends, in wall time.

        Returns the new secret.
        """
        overlap = timedelta(hours=overlap_hours)
        return webhook_deliveries.roll_secret(self.account, endpoint_id, overlap)

    def set_endpoint_version(self, endpoint_id: str, api_version: str) -> None:
        """Have a webhook endpoint receive events as an API version renders them."""
        self.account.store.objects[endpoint_id]["api_version"] = api_version

    # -- money --------------------------------------------------------------------------------

    def dispute(
        self,
        charge_id: str,
        *,
        amount: int | None = None,
        reason: str = "fraudulent",
        inquiry: bool = False,
    ) -> str:
        """Dispute a charge, or `amount` of it, and return the dispute's id."""
        dispute = disputes.make(
            self.account, charge_id, amount=amount, reason=reason, inquiry=inquiry
        )
        return str(dispute["id"])

    def escalate_dispute(self, dispute_id: str) -> None:
        """Escalate an inquiry to a dispute, which withdraws the funds."""
        disputes.escalate(self.account, dispute_id)

    def decide_dispute(self, dispute_id: str, *, won: bool, refund_fee: bool = False) -> None:
        """Close a dispute or inquiry; with `refund_fee` winning returns the fee too."""
        disputes.decide(self.account, dispute_id, won=won, refund_fee=refund_fee)

    def create_fraud_warning(
        self, charge_id: str, fraud_type: str = "made_with_stolen_card"
    ) -> str:
        """Send an early fraud warning of a charge. Returns the warning's id."""
        return str(fraud_warnings.create(self.account, charge_id, fraud_type)["id"])

    def fail_refund(self, refund_id: str, reason: str = "expired_or_canceled_card") -> None:
        """Fail a refund; its amount returns to the balance."""
        refunds.fail(self.account, refund_id, reason)

    def update_account(self, **settings: str) -> None:
        """Change account settings in the dashboard: `statement_descriptor`, `support_url`, …"""
        account_settings.update(self.account, **settings)

    def fail_payout(self, payout_id: str, code: str = "account_closed") -> None:
        """Fail a payout, paid or not; its amount returns to the balance."""
        payouts.fail(self.account, payout_id, code)

    def delay_reconciliation(self, seconds: float) -> None:
        """Have payouts reconciled only so many seconds after they were paid."""
        self.account.state["reconciliation_delay_seconds"] = seconds

    def set_weekly_payouts(self, weekday: int) -> None:
        """Pay out on one day of the week only, from now on; 0 is Monday."""
        self.account.state["payout_weekday"] = range(7)[weekday]

    def allow_negative_payouts(self, *, enabled: bool = True) -> None:
        """Set whether a negative balance is debited from the bank, in a negative payout."""
        self.account.state["allows_negative_payouts"] = enabled

    def set_minimum_balance(self, amount: int, currency: str = "usd") -> None:
        """Have payouts leave this amount in the balance."""
        self.account.state.setdefault("minimum_balance", {})[currency] = amount

    def charge_fee(
        self, kind: str, amount: int, currency: str = "usd", *, at: datetime | None = None
    ) -> str:
        """Deduct a fee of Stripe's own: `billing`, `radar`, `fx` or `tax`. `at` backdates it.

        Returns the balance transaction's id.
        """
        return str(balance_adjustments.charge_fee(self.account, kind, amount, currency, at)["id"])

    def hold_reserve(self, amount: int, currency: str = "usd") -> str:
        """Move an amount into the risk reserve. Returns the balance transaction's id."""
        return str(balance_adjustments.hold_reserve(self.account, amount, currency)["id"])

    def release_reserve(self, amount: int, currency: str = "usd") -> str:
        """Move an amount out of the risk reserve. Returns the balance transaction's id."""
        return str(balance_adjustments.release_reserve(self.account, amount, currency)["id"])

    def create_adjustment(self, amount: int, currency: str = "usd", description: str = "") -> str:
        """Correct the balance, explained by the description only. Returns the transaction's id."""
        row = balance_adjustments.create_adjustment(self.account, amount, currency, description)
        return str(row["id"])

    def convert_balance(self, amount: int, currency: str, target: str) -> list[str]:
        """Convert part of the balance to another currency. Returns both transactions' ids."""
        rows = balance_adjustments.convert(self.account, amount, currency, target)
        return [str(row["id"]) for row in rows]

    def set_rate(self, currency: str, in_usd: str) -> None:
        """Set a currency's exchange rate, in dollars per unit."""
        self.account.state.setdefault("rates", {})[currency] = in_usd

    def delay_captures(self, seconds: float) -> None:
        """Have charges captured, with their fee and `charge.updated`, so many seconds later."""
        self.account.capture_delay = timedelta(seconds=seconds)

    # -- API keys -----------------------------------------------------------------------------

    def add_key(
        self,
        secret: str | None = None,
        *,
        scopes: dict[str, str] | None = None,
        kind: str | None = None,
        expires_at: datetime | float | None = None,
    ) -> str:
        """Add an API key, with scopes a restricted one: `{"charge": "read"}`. Returns its secret.

        Without a secret it gets a new one. `expires_at` is a time of the wall clock.
        """
        moment = _timestamp(expires_at)
        key = api_keys.add(self.account, secret, scopes=scopes, kind=kind, expires_at=moment)
        return key.secret

    def expire_key(self, secret: str, at: datetime | float | None = None) -> None:
        """Let an API key expire, at once or at a time of the wall clock."""
        api_keys.expire(self.account, secret, _timestamp(at))

    def roll_key(self, secret: str, old_expires_at: datetime | float | None = None) -> str:
        """Replace an API key; the old one expires at once or then. Returns the new secret."""
        return api_keys.roll(self.account, secret, _timestamp(old_expires_at)).secret

    def require_known_keys(self) -> None:
        """Refuse every API key that was not added, from now on."""
        api_keys.require_known_keys(self.account)


def _timestamp(moment: datetime | float | None) -> float | None:
    return moment.timestamp() if isinstance(moment, datetime) else moment
