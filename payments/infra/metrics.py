"""Metrics of this process, for Prometheus. Labels come from closed sets and name no person."""

from enum import StrEnum

from prometheus_client import Counter


class WebhookOutcome(StrEnum):
    """What became of one delivery to the address of webhooks."""

    ENQUEUED = "enqueued"  # stored, with a job that fetches its object
    UNKNOWN = "unknown"  # stored; of a type that nothing follows from
    DUPLICATE = "duplicate"
    FOREIGN = "foreign"  # Stripe's, of the other mode or a connected account
    REFUSED = "refused"
    UNAVAILABLE = "unavailable"  # the database: Stripe sends it again


WEBHOOKS = Counter("payments_webhooks_total", "Webhooks received, by outcome.", ["outcome"])
