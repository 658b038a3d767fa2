"""DATEV: journals as a Buchungsstapel in the EXTF form, one file for each currency and fiscal year.

https://developer.datev.de/de/file-format/details/datev-format: a head with 31 fields, the names of
the 125 columns of version 13, and a row for each day and pair of accounts. Windows-1252, fields by
semicolon, CR LF, a decimal comma.
"""

from collections.abc import Sequence
from datetime import date, timedelta

from payments.accounting.exports.journal_format import Program
from payments.accounting.exports.journals import Journal, Movement, ProgramRefuses
from payments.accounting.exports.program_amounts import two_decimals
from payments.accounting.exports.program_rules import Names, setting

MAX_ROWS = 99_999
MAX_DIGITS = 10  # before the comma
_FIRST_COLUMNS = """
    Umsatz (ohne Soll/Haben-Kz);Soll/Haben-Kennzeichen;WKZ Umsatz;Kurs;Basis-Umsatz;WKZ Basis-Umsatz
    Konto;Gegenkonto (ohne BU-Schlüssel);BU-Schlüssel;Belegdatum;Belegfeld 1;Belegfeld 2;Skonto
    Buchungstext;Postensperre;Diverse Adressnummer;Geschäftspartnerbank;Sachverhalt;Zinssperre
    Beleglink
"""
_MIDDLE_COLUMNS = """
    KOST1 - Kostenstelle;KOST2 - Kostenstelle;Kost-Menge;EU-Land u. UStID (Bestimmung)
    EU-Steuersatz (Bestimmung);Abw. Versteuerungsart;Sachverhalt L+L;Funktionsergänzung L+L
    BU 49 Hauptfunktionstyp;BU 49 Hauptfunktionsnummer;BU 49 Funktionsergänzung
"""
_LAST_COLUMNS = """
    Stück;Gewicht;Zahlweise;Forderungsart;Veranlagungsjahr;Zugeordnete Fälligkeit;Skontotyp
    Auftragsnummer;Buchungstyp;USt-Schlüssel (Anzahlungen);EU-Land (Anzahlungen)
    Sachverhalt L+L (Anzahlungen);EU-Steuersatz (Anzahlungen);Erlöskonto (Anzahlungen);Herkunft-Kz
    Buchungs GUID;KOST-Datum;SEPA-Mandatsreferenz;Skontosperre;Gesellschaftername
    Beteiligtennummer;Identifikationsnummer;Zeichnernummer;Postensperre bis
    Bezeichnung SoBil-Sachverhalt;Kennzeichen SoBil-Buchung;Festschreibung;Leistungsdatum
    Datum Zuord. Steuerperiode;Fälligkeit;Generalumkehr (GU);Steuersatz;Land;Abrechnungsreferenz
    BVV-Position;EU-Land u. UStID (Ursprung);EU-Steuersatz (Ursprung);Abw. Skontokonto
"""


def _names_in(text: str) -> list[str]:
    return [name.strip() for line in text.strip().splitlines() for name in line.split(";")]


def _numbered(name: str, count: int) -> list[str]:
    return [f"{name} - {part} {n}" for n in range(1, count + 1) for part in ("Art", "Inhalt")]


COLUMNS = (
    *_names_in(_FIRST_COLUMNS),
    *_numbered("Beleginfo", 8),
    *_names_in(_MIDDLE_COLUMNS),
    *_numbered("Zusatzinformation", 20),
    *_names_in(_LAST_COLUMNS),
)


def datev(journals: Sequence[Journal], names: Names) -> list[bytes]:
    """Return the files. Raises ProgramRefuses for another currency than that of the books, and for
    journals of several fiscal years, because a row names no year.
    """
    base_currency = setting(names, Program.DATEV, "base_currency")
    begins = {_fiscal_year_begin(journal.day, names) for journal in journals}
    for journal in journals:
        if journal.currency.upper() != base_currency:
            raise ProgramRefuses(
                f"DATEV: the client's books are in {base_currency}, and a row of "
                f"{journal.currency.upper()} needs the rate they are booked at, which the ledger "
                "does not have. Nothing was written."
            )
    if len(begins) > 1:
        raise ProgramRefuses(
            "DATEV: a file is of one fiscal year, and this period is of several. "
            "Nothing was written. Choose a shorter one."
        )
    rows = [(journal, movement) for journal in journals for movement in journal.movements]
    return [
        _file(rows[start : start + MAX_ROWS], begins.copy().pop(), names)
        for start in range(0, len(rows), MAX_ROWS)
    ]


def _fiscal_year_begin(day: date, names: Names) -> date:
    month = int(setting(names, Program.DATEV, "fiscal_year_begins")[:2])
    return date(day.year if day.month >= month else day.year - 1, month, 1)


def _file(rows: Sequence[tuple[Journal, Movement]], begin: date, names: Names) -> bytes:
    first, last = rows[0][0].day, rows[-1][0].day
    made = f"{last + timedelta(days=1):%Y%m%d}000000000"  # by no clock: the bytes must not change
    head = [
        '"EXTF"', "700", "21", '"Buchungsstapel"', "13", made, "", '"RE"', '""', '""',
        setting(names, Program.DATEV, "adviser"), setting(names, Program.DATEV, "client"),
        f"{begin:%Y%m%d}", setting(names, Program.DATEV, "account_length"), f"{first:%Y%m%d}",
        f"{last:%Y%m%d}", f'"Stripe {first:%Y-%m}"', '""', "1", "0", "0",
        f'"{rows[0][0].currency.upper()}"', "", '""', "", "", '""', "", "", '""', '""',
    ]  # fmt: skip
    lines = [";".join(head), ";".join(COLUMNS), *(_row(*row) for row in rows)]
    return ("\r\n".join(lines) + "\r\n").encode("cp1252")


def _row(journal: Journal, movement: Movement) -> str:
    amount = two_decimals(movement.amount, journal.currency).replace(".", ",")
    if len(amount) > MAX_DIGITS + 3:
        raise ProgramRefuses(
            f"DATEV: {amount} has more than {MAX_DIGITS} digits. Nothing was written."
        )
    cells = [
        amount, '"S"', f'"{journal.currency.upper()}"', "", "", "", movement.debit,
        movement.credit, "", f"{journal.day:%d%m}", f'"{journal.name}"', "", "",
        '"Payments through Stripe"',
    ]  # fmt: skip
    return ";".join([*cells, *[""] * (len(COLUMNS) - len(cells))])
