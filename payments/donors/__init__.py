"""Who gave, found without storing an address, and how they sign in.

A donor is a keyed hash of an address, and the ids that Stripe gave them. No address is stored in a
form that could be read. It imports infra and core.
"""
