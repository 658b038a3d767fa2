"""What stands on the papers of a receipt and of a yearly statement: the words of their pages."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from payments.infra.context import Context
from payments.web import request_locale
from payments.web.account import paper, view_models
from payments.web.account.paper import Paper


def are_offered(ctx: Context) -> bool:
    """Whether there are papers of this newsroom."""
    settings = ctx.settings
    printed = (
        *(settings.publication_name, settings.receipt_entity),
        *(settings.brand_address, settings.receipt_tax_line),
    )
    return paper.is_offered(*printed)


def can_print(name: str) -> bool:
    """Whether the papers' font has each letter of a name."""
    return paper.is_offered(name)


def receipt(ctx: Context, payment: Mapping[str, str], name: str = "") -> Paper:
    """Return the receipt of one payment, as `view_models.payment_view` has it.

    With a name, it stands on the line for it.
    """
    words = request_locale.translate
    facts = []
    if payment["returned"]:
        facts.append((words("Paid"), payment["amount"]))
        facts += [
            (words(name), payment[key])
            for name, key in (("Refunded", "refunded"), ("Returned by the bank", "taken_back"))
            if payment[key]
        ]
    amount = payment["given"] or payment["amount"]
    facts += [
        (words("Amount"), f"{amount} ({payment['currency']})"),
        (words("On"), payment["at"]),
        (words("Contribution"), payment["frequency"]),
        (words("Reference"), payment["printed_reference"]),
    ]
    title, notes = words("Receipt"), _notes(ctx, name)
    if payment["is_gone"]:
        title = words("Returned payment")
        notes = [
            words("The whole amount was returned, so this page is not a receipt."),
            *notes,
        ]
    return _paper(ctx, title, facts, notes, name)


def statement(ctx: Context, shown: Mapping[str, Any], name: str = "") -> Paper:
    """Return the statement of a year, with each payment and the sum in each currency."""
    words = request_locale.translate
    has_returns, year = shown["has_returns"], shown["year"]
    columns = ["Date", "Contribution", "Reference", *["Paid", "Returned"] * has_returns, "Amount"]
    rows = [
        [
            *(one["at"], one["frequency"], one["printed_reference"]),
            *([one["amount"], one["returned"]] if has_returns else []),
            one["given"] or one["amount"],
        ]
        for one in shown["payments"]
    ]
    totals = [
        (words("Total (%(currency)s)") % {"currency": one["currency"]}, one["amount"])
        for one in shown["totals"]
    ]
    facts = [(words("In all"), f"{one['amount']} ({one['currency']})") for one in shown["totals"]]
    title = words("Statement for %(year)s") % {"year": year}
    return replace(
        _paper(ctx, title, facts, _notes(ctx, name), name),
        columns=[words(column) for column in columns],
        rows=rows,
        totals=totals,
    )


def _paper(
    ctx: Context, title: str, facts: list[tuple[str, str]], notes: list[str], name: str
) -> Paper:
    """Return a paper with who received the payments above, and a line for the donor's name."""
    words, settings = request_locale.translate, ctx.settings
    entity = settings.receipt_entity or settings.publication_name
    issuer = [(words("Received by"), entity)]
    issuer += [
        (words(name), value)
        for name, value in (("Address", settings.brand_address), ("Tax", settings.receipt_tax_line))
        if value
    ]
    return Paper(
        title=title,
        issuer=settings.publication_name,
        colour=settings.brand_color,
        logo=settings.brand_logo_png,
        language=request_locale.current(),
        made_at=ctx.now(),
        facts=[*issuer, *facts, (words("Name"), name)],
        notes=notes,
    )


def _notes(ctx: Context, name: str) -> list[str]:
    words = request_locale.translate
    held = words(
        "We hold no name and no address, so there is a line for you to write yours on. "
        "Amounts returned by this day are deducted."
    )
    if name:
        held = request_locale.translate(
            "The name was read at our payment provider for this file; we have not stored it. "
            "Amounts returned by this day are deducted."
        )
    counted = words("Days are counted in %(zone)s. Made on %(day)s.") % {
        "zone": ctx.settings.receipt_zoneinfo.key,
        "day": view_models.format_receipt_date(ctx, ctx.now()),
    }
    return [held, counted]
