"""What protects the form and its donors: rate limits, proof of work, donor notice, quarantine.

It counts by keyed hashes of networks and stores no IP address. It decides and records; what then
happens to a subscription is done by giving and safety. It imports infra and core.
"""
