"""Readers who ask for mail without giving: reminders, the newsletter, and the address vault.

abandoned_checkout   one reminder after a checkout that was not finished
address_vault        addresses, each under a key that can be destroyed
confirmation         the one mail that an unconfirmed address may get
newsletter           an address with consent, confirmed and handed on
newsletter_delivery  to the newsroom's mailing system, then erased
reminder_links       signed, without signing in
reminder_schedule    when, and of what
reminder_sender      when a reminder goes out: each mail at most once
reminder_stats       how many, a month
reminders            asked for, confirmed, sent at most twice
signup               what every sign-up has
suppression          addresses that are not written to

An address is stored only encrypted, under a key of its own, and the key is destroyed when the last
mail is sent or the address is handed over. It imports giving and the rooms below it.
"""
