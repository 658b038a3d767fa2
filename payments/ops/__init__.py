"""The operator's programs: the worker with its schedules, doctor, reconcile, Stripe set-up, demo.

A door: it opens the context and the transactions and calls verbs of the rooms. It imports web,
webhooks, every room and, for the demo, the sandbox.
"""
