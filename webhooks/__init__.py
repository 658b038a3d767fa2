"""Webhooks: the events that Stripe sends, and the sweeps that find what it did not send.

arrival   an alert when none arrives
endpoint  ours at Stripe, and when it is right
intake    verify, store, enqueue; nothing is applied
registry  which event syncs what
routes    POST /webhooks/stripe
sweeps    what no webhook reported

A webhook is never applied. It names an object; the object is fetched as it is now and synced by
the handler that `registry` names for its type. So order, duplicates, gaps and API versions of
deliveries do not matter. `intake` stores events, `routes` is the address they are posted to,
`endpoint` says whether Stripe sends them as it should, and `sweeps` enqueues what was missed.

It imports the rooms of `payments`, and no other door.
"""
