"""The programs that a file is made for, and the form each of them takes."""

from enum import StrEnum


class Program(StrEnum):
    """Accounting programs, as columns of the account map."""

    XERO = "xero"
    QBO = "qbo"
    DATEV = "datev"
    PLAIN = "plain"  # plain-text accounting: beancount and hledger


class JournalFormat(StrEnum):
    """The forms of a journal, and of the bank statement of the balance at Stripe."""

    XERO = "xero"
    XERO_STATEMENT = "xero-statement"
    QBO = "qbo"
    QBO_STATEMENT = "qbo-statement"
    DATEV = "datev"
    BEANCOUNT = "beancount"
    HLEDGER = "hledger"
    CSV = "csv"  # any other program: each ledger entry

    @property
    def program(self) -> Program | None:
        """The column of the account map with the names of this form; None where it has ours."""
        return PROGRAMS.get(self)

    @property
    def label(self) -> str:
        """What a page calls it."""
        return LABELS[self]

    @property
    def takes_one_currency(self) -> bool:
        """Whether a file holds one currency."""
        return self not in (JournalFormat.BEANCOUNT, JournalFormat.HLEDGER, JournalFormat.CSV)

    @property
    def is_statement(self) -> bool:
        """Whether it has the lines of a bank statement and no accounts."""
        return self in (JournalFormat.XERO_STATEMENT, JournalFormat.QBO_STATEMENT)


PROGRAMS = {
    JournalFormat.XERO: Program.XERO,
    JournalFormat.QBO: Program.QBO,
    JournalFormat.QBO_STATEMENT: Program.QBO,  # for the way it writes dates
    JournalFormat.DATEV: Program.DATEV,
    JournalFormat.BEANCOUNT: Program.PLAIN,
    JournalFormat.HLEDGER: Program.PLAIN,
}
LABELS = {
    JournalFormat.XERO: "Xero manual journals",
    JournalFormat.XERO_STATEMENT: "Xero bank statement of the balance at Stripe",
    JournalFormat.QBO: "QuickBooks Online journal entries",
    JournalFormat.QBO_STATEMENT: "QuickBooks Online bank upload of the balance at Stripe",
    JournalFormat.DATEV: "DATEV Buchungsstapel",
    JournalFormat.BEANCOUNT: "beancount",
    JournalFormat.HLEDGER: "hledger",
    JournalFormat.CSV: "Any other program (CSV, each row of the books)",
}
