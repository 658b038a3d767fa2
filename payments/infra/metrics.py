"""What processes count, for Prometheus. Labels come from closed sets and name no person.

Where PROMETHEUS_MULTIPROC_DIR names a folder, all processes that share it are one (`payments serve`
makes one for those it starts; https://prometheus.github.io/client_python/multiprocess/). Otherwise
each counts for itself.
"""

import os
from enum import StrEnum

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram, multiprocess


class WebhookOutcome(StrEnum):
    """What became of one delivery to the address of webhooks."""

    ENQUEUED = "enqueued"  # stored, with a job that fetches its object
    UNKNOWN = "unknown"  # stored; of a type that nothing follows from
    DUPLICATE = "duplicate"
    FOREIGN = "foreign"  # Stripe's, of the other mode or a connected account
    REFUSED = "refused"
    UNAVAILABLE = "unavailable"  # the database: Stripe sends it again


WEBHOOKS = Counter("payments_webhooks_total", "Webhooks received, by outcome.", ["outcome"])


class StripeOutcome(StrEnum):
    """What became of one attempt of a request to Stripe."""

    OK = "ok"
    REFUSED = "refused"  # 4xx: a mistake of ours, a decline, a key that may not
    BUSY = "busy"  # 429
    FAILED = "failed"  # 5xx
    UNREACHABLE = "unreachable"  # no answer


STRIPE_REQUESTS = Histogram(
    "payments_stripe_request_seconds",
    "Seconds that Stripe took to answer one attempt of a request, by outcome.",
    ["outcome"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20),
)
MULTIPROCESS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"


def outcome_of(status: int) -> StripeOutcome:
    """Return the outcome that an HTTP status is."""
    if status == 429:
        return StripeOutcome.BUSY
    if status >= 500:
        return StripeOutcome.FAILED
    return StripeOutcome.REFUSED if status >= 400 else StripeOutcome.OK


def counted() -> CollectorRegistry:
    """Return what was counted: by all processes that share a folder, else by this one."""
    if MULTIPROCESS_FOLDER not in os.environ:
        return REGISTRY
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # the library's
    return registry
