"""Metrics of this process, for Prometheus. Labels come from closed sets and name no person."""

from prometheus_client import Counter

WEBHOOKS = Counter("payments_webhooks_total", "Webhooks received, by outcome.", ["outcome"])
