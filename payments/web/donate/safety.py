"""Donor safety on pages: the donor notice, what a policy offers, and the page of what is stored.

The page is rendered from `safety.data_inventory`, which a test compares with the schema, and from
the retention that `safety.retention` enforces.
"""

from litestar import Response, get
from litestar.di import NamedDependency

from payments.core import geoip
from payments.core.frequency import OFFERED_FREQUENCIES, Frequency
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
from payments.safety import breaches, data_inventory
from payments.web import rendering, request_locale, risk_check
from payments.web.forms import AnyRequest

POLICY_ERRORS = (DeclarationRequired, DonationsClosed, RecurringNotAccepted)


def notice_for(ctx: Context, request: AnyRequest) -> DonorNotice | None:
    """Return the notice to show before the amount; None where no policy is in force.

    The country of the client decides whether it carries a warning, and is not stored.
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
    """Return the frequencies that the policy allows."""
    policy = settings.safety_policy
    if policy is not None and policy.recurring is RecurringRule.REFUSED:
        return (Frequency.ONCE,)
    return OFFERED_FREQUENCIES


def initial_frequency(settings: Settings, requested: str) -> Frequency:
    """Return the frequency to preselect: the requested one if offered, else a default.

    The default is monthly, or once where a policy is in force.
    """
    if requested in offered_frequencies(settings):
        return Frequency(requested)
    return Frequency.MONTHLY if settings.safety_policy is None else Frequency.ONCE


@get("/safety", include_in_schema=False)
async def safety_page(ctx: NamedDependency[Context]) -> Response[str]:
    """Show what is stored and until when, and what the service cannot protect anybody from."""
    data_classes, never_stored = data_inventory.shown(ctx.settings.articles)
    return rendering.render(
        ctx,
        "safety.html",
        notice=donor_notice.notice_for(ctx.settings.safety_policy, request_locale.current()),
        statement=ctx.settings.statement_descriptor,
        data_classes=[
            {
                "description": request_locale.translate(one.description),
                "retention": request_locale.translate(one.retention),
                "columns": [f"{table}: {names}" for table, names in sorted(one.columns.items())],
            }
            for one in data_classes
        ],
        never_stored=[request_locale.translate(line) for line in never_stored],
        breaches=[
            {
                "holder": request_locale.translate(one.holder),
                "gets": request_locale.translate(one.gets),
                "does_not_get": request_locale.translate(one.does_not_get),
            }
            for one in breaches.BREACHES.values()
        ],
        origins=[ctx.settings.base_url, *ctx.settings.alternate_origins],
    )
