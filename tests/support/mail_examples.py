"""What any mail may show, made up."""

from collections.abc import Mapping
from datetime import date

from payments.core import i18n, money
from payments.core.frequency import MONTH, YEAR, Frequency, Interval
from payments.core.money import Money
from payments.mail import render


def variables_of_mails(locale: str, *, interval: Interval, bare: bool) -> Mapping[str, object]:
    """Return all that a template may show; `bare` leaves out what may be unknown."""
    amount = money.format(Money(500, "usd"), locale)
    signed = "W1t7IjE3OTU0MzIxMDAiOiJzdWJfMVNhbXBsZUlkIn1d" * 2

    def day(month: int) -> str:
        return i18n.format_day(date(2027, month, 22), locale)

    return {
        "annual": interval == YEAR,
        "names_amounts": not bare,
        "begun_on": day(8),
        "others": [
            {
                "amount_phrase": "$3.00 a month",
                "begun_on": day(9),
                "state": state,
                "date": None if state in ("held", "failing", "unpaid") else day(10),
                "cancel_link": f"https://pay.lindenau.example/stop/{signed}",
            }
            for state in ("held" if interval == MONTH else "paused",)
        ],
        "has_other": bare,
        "is_paused_by_us": bare,
        "held": 2 * bare,
        "held_for_it": interval == MONTH,
        "still_open": bare,
        "periodic": interval.frequency is Frequency.PERIODIC,
        "amount": amount,
        "amount_phrase": render.amount_phrase(amount, locale, interval),
        "next_charge": None if bare else day(1),
        "skipped_on": day(2),
        "resumes_on": None if bare else day(3),
        "ends_on": day(7),
        "payments_left": 0 if bare else 3,
        "last_payment": None if bare else day(6),
        "ended_on": day(4),
        "card_expires_on": day(5),
        "retry_on": None if bare else day(6),
        "confirm_link": None if bare else "https://invoice.stripe.com/i/acct_1/test_" + signed,
        "card_update_link": f"https://pay.lindenau.example/fix/{signed}",
        "cancel_link": f"https://pay.lindenau.example/stop/{signed}",
        "manage_link": "https://pay.lindenau.example/manage",
        "reference": "AB12CD34",
        "publication": "The Example Courier",
        "given": amount,
        "paid": amount,
        "returned": "" if bare else amount,
        "refunded": amount,
        "remaining": amount,
        "currency": "USD",
        "paid_on": day(11),
        "receipt_number": "0123 4567 89AB CDEF",
        "entity": "" if bare else "Courier & Sons <Trust>",
        "tax_line": "" if bare else "No goods or services were provided.",
        "descriptor": "" if bare else "EXAMPLE MEDIA",
        "year": "2026",
        "totals": [{"currency": "USD", "amount": amount}, {"currency": "EUR", "amount": amount}],
        "statement_link": "https://pay.lindenau.example/manage/statements/2026",
        "minutes": 10,
        "sign_in_link": f"https://pay.lindenau.example/manage/enter/{signed[:43]}",
        "code": "ABCDE-FGHJK",
    }
