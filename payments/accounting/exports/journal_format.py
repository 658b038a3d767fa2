"""The programs that a journal is made for."""

from enum import StrEnum


class JournalFormat(StrEnum):
    """The programs a journal is made for."""

    XERO = "xero"
    QBO = "qbo"
    BEANCOUNT = "beancount"
    CSV = "csv"  # any other: each ledger entry
