"""Colleagues: accounts and roles, passkeys, one-time links, and sign-in by OpenID Connect.

There is no password. Every sign-in and every change of an account leaves an entry in the audit log,
in the same transaction. It imports infra and core.

accounts        a colleague with a role, and the one-time links that sign them in
administration  a change of role, a removal, a lost device: each ends access at once
api_tokens      what programs read the books with
sessions        who is signed in, and how recently they proved who they are
passkeys        WebAuthn credentials
oidc            an account at the newsroom's own provider, linked to a colleague
oidc_provider   the OpenID Connect client
"""
