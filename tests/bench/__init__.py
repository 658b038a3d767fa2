"""Benches: what this service costs beside the least that could be done instead.

Both sides run in one session, turn and turn about, and what counts is their ratio: a rate by
itself says more about the machine. Nothing here passes or fails. `python -m tests.bench`.
"""
