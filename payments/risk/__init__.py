"""What protects the form and its donors: rate limits, proof of work, donor notice, quarantine.

account_limit         how often a donor's own pages may ask Stripe
buckets               how much of its limits each network has used
donor_notice          what a safety policy has readers read and declare
emergency_stops       what was decided, and how far each has come
form_limit            the limits of forms that have us mail somebody
proof_of_work         what a browser computes instead of a puzzle
quarantine            payments from a protected country
rate_limit            the rate limits of gifts, by network
request_context       what is known of a request, while it lives
risk_level            how much is asked of whoever gives
statement_descriptor  what a donor's bank prints

It counts by keyed hashes of networks and stores no IP address. It decides and records; what then
happens to a subscription is done by giving and safety. It imports infra and core.
"""
