"""Donor safety, shown: the notice before the amount, and the page that says what we keep.

The page promises only what is true: what is kept is read from the table in `classified`, which a
test compares with the schema, and how long from the rules that `retention` carries out.
"""

from litestar import Response, get
from litestar.di import NamedDependency

from payments.core import geoip
from payments.core.safety_policy import Promises
from payments.core.settings import Settings
from payments.giving.checkout_session import Frequency
from payments.infra.context import Runtime
from payments.risk import donor_notice
from payments.risk.donor_notice import DeclarationNeeded, DonationsClosed, Notice, PromisesRefused
from payments.safety import data_inventory
from payments.web import locale, templates
from payments.web.donate import risk_check
from payments.web.forms import AnyRequest

REFUSALS = (DeclarationNeeded, DonationsClosed, PromisesRefused)


def notice_for(rt: Runtime, request: AnyRequest) -> Notice | None:
    """What is read before the amount, as strong as it should be for whoever asks.

    Where they seem to be decides about one sentence, and is gone with this answer.
    """
    policy = rt.settings.policy
    if policy is None:
        return None
    country = geoip.country_of(rt.settings.geo_database, risk_check.address(rt.settings, request))
    return donor_notice.of(policy, locale.spoken(), seems_there=policy.protects(country))


def offered(settings: Settings) -> tuple[Frequency, ...]:
    """How often one may give here."""
    policy = settings.policy
    if policy is not None and policy.promises is Promises.REFUSED:
        return (Frequency.ONCE,)
    return tuple(Frequency)


def chosen(settings: Settings, asked: str) -> Frequency:
    """What is ticked at first: what was asked for or, where a policy is in force, once."""
    if asked in offered(settings):
        return Frequency(asked)
    return Frequency.MONTHLY if settings.policy is None else Frequency.ONCE


@get("/safety", include_in_schema=False)
async def page(rt: NamedDependency[Runtime]) -> Response[str]:
    """What we keep, until when, and what we cannot protect anybody from."""
    return templates.page(
        rt,
        "safety.html",
        notice=donor_notice.of(rt.settings.policy, locale.spoken()),
        statement=rt.settings.statement,
        classes=[
            {
                "what": locale.say(one.what),
                "until": locale.say(one.until),
                "cells": [f"{table}: {columns}" for table, columns in sorted(one.cells.items())],
            }
            for one in data_inventory.CLASSES
        ],
        never=[locale.say(line) for line in data_inventory.NEVER],
        mirrors=[rt.settings.base_url, *rt.settings.mirrors],
    )
