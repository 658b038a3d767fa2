"""Accounts: what each of our accounts is called in the accounting programs, edited here or
as a file, with every earlier version.
"""

from collections.abc import Mapping
from typing import Any

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.response import Redirect

from payments.accounting.exports import account_map, program_rules
from payments.accounting.exports.account_map import AccountMapVersion, MapChanged
from payments.accounting.exports.journal_format import Program
from payments.accounting.exports.program_rules import (
    DEFERRED_INCOME,
    MAPPED_ACCOUNTS,
    PROGRAM_LABELS,
    SETTING_PREFIX,
    Names,
)
from payments.accounting.exports.statements import LABELS
from payments.core.errors import InvalidField, NotFound, PaymentsError
from payments.infra.context import Context
from payments.ledger.posting_rules import LedgerAccount
from payments.staff.accounts import Staff
from payments.web.finance import layout
from payments.web.finance.formats import format_minute
from payments.web.finance.tables import Cell, Table, table
from payments.web.forms import AnyRequest, count_parameter, form_data, form_file, parse_count
from payments.web.staff.downloads import attachment
from payments.web.staff.guards import EXPORT, ExportGrant

ACCOUNTS_URL = "/finance/accounts"
MAX_FORM_BYTES = 128 * 1024
FIELD_SEPARATOR = "|"  # of a program and an account, which has colons


class AccountMapPages(Controller):
    """The account map: its page, its file, and its versions."""

    path = ACCOUNTS_URL
    include_in_schema = False

    @get()
    async def show(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[str]:
        """Show the current version, ready to be edited, and the earlier ones."""
        return await _render(ctx, colleague, saved=count_parameter(request, "saved"))

    @post(request_max_body_size=MAX_FORM_BYTES)
    async def save(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[Any]:
        """Save what was typed as the current version."""
        fields = await form_data(request)
        entered = _names_of(fields)
        based_on = parse_count(fields.get("based_on", ""))
        try:
            version = await account_map.save(
                ctx,
                entered,
                by=colleague.name,
                staff_id=colleague.id,
                based_on=based_on or 0,
            )
        except (InvalidField, MapChanged) as error:
            return await _render(ctx, colleague, error=error, entered=entered)
        return Redirect(f"{ACCOUNTS_URL}?saved={version}", status_code=303)

    @post("/file", request_max_body_size=MAX_FORM_BYTES)
    async def upload(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[Any]:
        """Save a file as the current version."""
        try:
            names = account_map.from_csv(await form_file(request, "file"))
            version = await account_map.save(ctx, names, by=colleague.name, staff_id=colleague.id)
        except InvalidField as error:
            return await _render(ctx, colleague, error=error)
        return Redirect(f"{ACCOUNTS_URL}?saved={version}", status_code=303)

    @get("/file", guards=[EXPORT])
    async def download(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        export_grant: NamedDependency[ExportGrant],
    ) -> Response[bytes]:
        """Return the current version as a file, or an earlier one."""
        number = count_parameter(request, "version")
        async with ctx.sessions() as session:
            if number:
                version = await account_map.get_version(session, number)
                if version is None:
                    raise NotFound(f"There is no version {number} of the account map.")
                names = account_map.with_defaults(version.names)
            else:
                names = await account_map.current_names(session)
        name = f"account-map-{number}.csv" if number else "account-map.csv"
        return await attachment(
            export_grant, account_map.to_csv(names), name, media_type="text/csv"
        )


def _names_of(fields: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return what was typed, by program and account."""
    names: dict[str, dict[str, str]] = {program: {} for program in Program}
    for field, value in fields.items():
        program, separator, key = field.partition(FIELD_SEPARATOR)
        if separator and program in names and value.strip():
            names[program][key] = value
    return names


async def _render(
    ctx: Context,
    colleague: Staff,
    *,
    saved: int = 0,
    error: PaymentsError | None = None,
    entered: Mapping[str, Mapping[str, str]] | None = None,
) -> Response[str]:
    async with ctx.sessions() as session:
        versions = await account_map.history(session)
        names = await account_map.current_names(session)
    shown = names if entered is None else account_map.with_defaults(entered)
    response = await layout.render(
        ctx,
        "finance_accounts.html",
        colleague,
        title="Accounts in your accounting programs",
        active_url=ACCOUNTS_URL,
        url=ACCOUNTS_URL,
        programs=list(PROGRAM_LABELS.values()),
        accounts=[
            {
                "key": str(account),
                "label": _label(account),
                "cells": [
                    {
                        "name": f"{program}{FIELD_SEPARATOR}{account}",
                        "label": f"{PROGRAM_LABELS[program]}: {account}",
                        "value": shown[program].get(account, ""),
                    }
                    for program in Program
                ],
            }
            for account in MAPPED_ACCOUNTS
        ],
        settings=_settings(shown),
        based_on=versions[0].id if versions else 0,
        saved=saved,
        error="" if error is None else error.detail,
        versions=_versions_table(ctx, versions),
    )
    response.status_code = 200 if error is None else error.status
    return response


def _label(account: str) -> str:
    if account == DEFERRED_INCOME:
        return "Deferred income: paid for months to come"
    return LABELS[LedgerAccount(account)]


def _settings(shown: Names) -> list[dict[str, object]]:
    return [
        {
            "program": PROGRAM_LABELS[program],
            "fields": [
                {
                    "name": f"{program}{FIELD_SEPARATOR}{SETTING_PREFIX}{name}",
                    "label": one.label,
                    "hint": one.hint,
                    "value": shown[program].get(SETTING_PREFIX + name, ""),
                }
                for name, one in program_rules.settings_of(program)
            ],
        }
        for program in Program
    ]


def _versions_table(ctx: Context, versions: list[AccountMapVersion]) -> Table:
    rows = [
        [
            Cell(str(version.id), f"{ACCOUNTS_URL}/file?version={version.id}"),
            Cell(format_minute(ctx, version.saved_at)),
            Cell(version.saved_by),
        ]
        for version in versions
    ]
    return table("versions", "Versions, the newest first", ["Version", "Saved", "By"], rows,
                 empty="Nothing was saved yet.")  # fmt: skip
