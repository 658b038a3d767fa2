"""Donor safety, shown: the notice before the amount, and the page that says what we keep.

The page promises only what is true: what is kept is read from the table in `classified`, which a
test compares with the schema, and how long from the rules that `retention` carries out.
"""

from litestar import Response, get
from litestar.di import NamedDependency

from payments import classified, geo, notices
from payments.asks import Frequency
from payments.notices import DeclarationNeeded, DonationsClosed, Notice, PromisesRefused
from payments.policy import Promises
from payments.runtime import Runtime
from payments.settings import Settings
from payments.web import pages, shield, tongue
from payments.web.bodies import AnyRequest

REFUSALS = (DeclarationNeeded, DonationsClosed, PromisesRefused)


def notice_for(rt: Runtime, request: AnyRequest) -> Notice | None:
    """What is read before the amount, as strong as it should be for whoever asks.

    Where they seem to be decides about one sentence, and is gone with this answer.
    """
    policy = rt.settings.policy
    if policy is None:
        return None
    country = geo.country_of(rt.settings.geo_database, shield.address(rt.settings, request))
    return notices.of(policy, tongue.spoken(), seems_there=policy.protects(country))


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
    return pages.page(
        rt,
        "safety.html",
        notice=notices.of(rt.settings.policy, tongue.spoken()),
        statement=rt.settings.statement,
        classes=[
            {
                "what": tongue.say(one.what),
                "until": tongue.say(one.until),
                "cells": [f"{table}: {columns}" for table, columns in sorted(one.cells.items())],
            }
            for one in classified.CLASSES
        ],
        never=[tongue.say(line) for line in classified.NEVER],
        mirrors=[rt.settings.base_url, *rt.settings.mirrors],
    )
