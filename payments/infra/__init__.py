"""What the service runs on: PostgreSQL, the job queue, Stripe's API, logs, alerts, the audit log.

It knows no contribution and no donor: alerts and audit entries name an object by its id. Whatever
reaches beyond one transaction takes a `Context`. It imports core.
"""
