"""The operator's programs: the worker with its schedules, doctor, reconcile, Stripe set-up, demo.

demo             `payments demo`
doctor           whether everything around this service is right
event_check      the doctor's look at the programs that take our events
missing_objects  what we hold and Stripe does not have
proxy_check      the doctor's look at the proxies before us, with a forged sender
reconcile        compares with Stripe, and repairs
schedules        what runs when
sender_records   the doctor's look at SPF, DKIM and DMARC in DNS
stripe_setup     the Products and the webhook endpoint
worker           runs jobs and schedules until it is stopped
zone_check       whether the books are counted in the zone of the setting
comparisons      what is compared of each type of object

A door: it opens the context and the transactions and calls verbs of the rooms. It imports web,
webhooks, every room and, for the demo, the sandbox.
"""
