"""Colleagues: accounts and roles, passkeys, one-time links, and sign-in by OpenID Connect.

There is no password. Every sign-in and every change of an account leaves an entry in the audit log,
in the same transaction. It imports infra and core.
"""
