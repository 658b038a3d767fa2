"""What protects donors: emergency stop, erasure, retention, data inventory, support cases.

address_change       by the donor, who has the old mailbox and the new one
breaches             what each of those who take something would learn
data_inventory       what is stored, column by column, until when
data_requests        what we hold of a donor, and its erasure
descriptor_review    the bank's line, as a person has seen it
emergency_stop       ends all that can charge a group
erasure              who gave is deleted, what was given stays
global_erasure       every identity is destroyed at once
identifying_columns  the columns that could tie a person to a gift, and their erasure
policy_refunds       refunds that the policy requires
quarantine_response  what follows a payment in quarantine
retention            deletes what has outlived its date
stop_actions         what a stop does to one object at Stripe
stop_enforcement     ends what begins or is paid while a stop stands
stop_items           the subscriptions of a stop, and how far each is
stop_lists           Stripe's lists of what can still charge
stripe_worklist      what is to be erased at Stripe first
support_cases        one donor, one colleague, a reason, half an hour

Every column of every table stands in the data inventory, with what it says about whom and until
when; retention deletes by it. It imports settlement, signups, giving and the rooms below them.
"""
