"""Benchmarks: what this service costs beside the least that could be done instead.

Both sides run alternately in one session, and their ratio is the result: a rate by itself says more
about the machine. Nothing here passes or fails. Run by `make bench` or `python -m tests.bench`.
"""
