"""Readers who ask for mail without giving: reminders, the newsletter, and the address vault.

An address is stored only encrypted, under a key of its own, and the key is destroyed when the last
mail is sent or the address is handed over. It imports giving and the rooms below it.
"""
