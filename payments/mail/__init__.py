"""Mail to donors: the outbox, templates, rendering, SMTP, signed links, muted subscriptions.

A mail is a row, one for each cause, written in the cause's transaction; it is rendered, addressed
and sent later. The outbox holds no address and no text. It imports infra and core.
"""
