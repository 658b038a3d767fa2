"""The pages of colleagues: signing in, campaigns, alerts, accounts, the audit log.

accounts         one's own account, and those of others
alerts           what each means, and closing one
api_tokens       what programs read the books with
auth             asks a colleague who they are
campaign_form    a config as fields, and back
campaigns        writing, previewing, comparing
cookies          the session, and a sign-in elsewhere
downloads        files, with their line in the audit log
experiment_view  how variants compare (A/B)
guards           permissions: who may open what, who may export
layout           navigation by role
sign_in          by a passkey or a one-time link
sso              by OpenID Connect
"""
