"""What finance asks: daily totals, reports, exports, closed months, and the checks of the books.

Every figure is in minor units of one currency and can be computed again from the ledger. A closed
month never changes. Nothing here says who gave. It imports settlement, signups, giving and the
rooms below them.
"""
