"""Mail to donors: the outbox, templates, rendering, delivery, signed links, mutes.

brand           mails in the newsroom's name and colour
delivery        one mail handed to the mail server, once or at least once
dkim_signature  what proves a mail's sender, and its DNS record
links           signed for one purpose, without signing in
muted           subscriptions about which no mail is sent
outbox          mails to send, one for each cause
paragraphs      what a mail is made of
refusals        what a mail server's "no" is about
render          a template, a subject, paragraphs
smtp            one connection and one mail

A mail is a row, one for each cause, written in the cause's transaction; it is rendered, addressed
and sent later. The outbox holds no address and no text. It imports infra and core.
"""
