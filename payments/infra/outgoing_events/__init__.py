"""Outgoing events: what happens here, sent to the newsroom's other programs as signed webhooks.

addresses   which addresses an endpoint may have
delivery    sends what is due, one endpoint at a time
endpoints   where events go, and the secrets that sign them
payloads    the message of an event
replays     sending again, and test events
transport   one signed request, to a public address
tables      events, endpoints, deliveries

An event is recorded in the transaction of the fact it is about, by triggers of the database
(`outgoing_event_triggers` in the baseline): whatever road a fact comes by, a webhook of Stripe's, a
sweep or the importer, it is recorded once. Without an endpoint that wants it nothing is recorded.
A schedule delivers within a minute, at least once, after everything else that waits. It carries no
person, and of a contribution only a pseudonym that no other endpoint has (docs/events.md).
"""
