"""What protects donors: emergency stop, erasure, retention, data inventory, support cases.

Every column of every table stands in the data inventory, with what it says about whom and until
when; retention deletes by it. It imports settlement, signups, giving and the rooms below them.
"""
