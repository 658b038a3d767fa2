"""Donor safety, shown: the notice before the amount, and the page that says what we keep.

The page promises only what is true: what is kept is read from the table in `classified`, which a
test compares with the schema, and how long from the rules that `retention` carries out.
"""

from litestar import Response, get
from litestar.di import NamedDependency

from payments.core import geoip
from payments.core.frequency import Frequency
from payments.core.safety_policy import RecurringRule
from payments.core.settings import Settings
from payments.infra.context import Context
from payments.risk import donor_notice
from payments.risk.donor_notice import (
    DeclarationRequired,
    DonationsClosed,
    DonorNotice,
    RecurringNotAccepted,
)
from payments.safety import data_inventory
from payments.web import rendering, request_locale
from payments.web.donate import risk_check
from payments.web.forms import AnyRequest

POLICY_ERRORS = (DeclarationRequired, DonationsClosed, RecurringNotAccepted)


def notice_for(ctx: Context, request: AnyRequest) -> DonorNotice | None:
    """What is read before the amount, as strong as it should be for whoever asks.

    Where they seem to be decides about one sentence, and is gone with this answer.
    """
    policy = ctx.settings.safety_policy
    if policy is None:
        return None
    country = geoip.country_code(
        ctx.settings.geoip_database, risk_check.client_address(ctx.settings, request)
    )
    return donor_notice.notice_for(
        policy, request_locale.current(), in_protected_country=policy.protects(country)
    )


def offered_frequencies(settings: Settings) -> tuple[Frequency, ...]:
    """How often one may give here."""
    policy = settings.safety_policy
    if policy is not None and policy.recurring is RecurringRule.REFUSED:
        return (Frequency.ONCE,)
    return tuple(Frequency)


def initial_frequency(settings: Settings, requested: str) -> Frequency:
    """What is ticked at first: what was asked for or, where a policy is in force, once."""
    if requested in offered_frequencies(settings):
        return Frequency(requested)
    return Frequency.MONTHLY if settings.safety_policy is None else Frequency.ONCE


@get("/safety", include_in_schema=False)
async def safety_page(ctx: NamedDependency[Context]) -> Response[str]:
    """What we keep, until when, and what we cannot protect anybody from."""
    return rendering.render(
        ctx,
        "safety.html",
        notice=donor_notice.notice_for(ctx.settings.safety_policy, request_locale.current()),
        statement=ctx.settings.statement_descriptor,
        classes=[
            {
                "what": request_locale.translate(one.description),
                "until": request_locale.translate(one.retention),
                "cells": [f"{table}: {columns}" for table, columns in sorted(one.columns.items())],
            }
            for one in data_inventory.DATA_CLASSES
        ],
        never=[request_locale.translate(line) for line in data_inventory.NEVER_STORED],
        mirrors=[ctx.settings.base_url, *ctx.settings.alternate_origins],
    )
