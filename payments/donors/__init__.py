"""Who gave, found without storing an address, and how they sign in.

donors   found by a keyed hash of an address
sign_in  links by mail, sessions without a password

A donor is a keyed hash of an address, and the ids that Stripe gave them. No address is stored in a
form that could be read. It imports infra and core.
"""
