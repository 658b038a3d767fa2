"""The doctor's look at the proxies before this service, with a forged sender."""

from payments.core.settings import Settings
from payments.infra import alerts, client_probe
from payments.infra.alerts import AlertKind
from payments.infra.client_probe import SeenClient
from payments.infra.context import Context
from payments.risk.statement_descriptor import CheckFinding

MIN_PROXY_PREFIX_LENGTH = {4: 8, 6: 16}  # by IP version; 10.0.0.0/8 is private, wider is everybody


async def check(ctx: Context) -> list[CheckFinding]:
    """Whether readers' addresses can be distinguished. With https, a proxy stands before us."""
    settings = ctx.settings
    too_wide = [
        str(network)
        for network in settings.trusted_proxies
        if network.prefixlen < MIN_PROXY_PREFIX_LENGTH[network.version]
    ]
    if too_wide:
        description = f"{', '.join(too_wide)} is so wide that anybody could write who they are"
        return [CheckFinding("proxies", False, f"PAYMENTS_TRUSTED_PROXIES: {description}")]
    try:
        seen = await client_probe.send(ctx, settings.base_url)
    except client_probe.Unreachable as error:
        description = f"{settings.base_url} did not say what it sees of a client: {error}"
        return [CheckFinding("proxies", not settings.uses_https, description)]
    is_right, description = _judge_client(settings, seen)
    if is_right:
        async with ctx.sessions.begin() as session:
            await alerts.close_kind(session, AlertKind.READERS_HIDDEN, now=ctx.now())
    return [CheckFinding("proxies", is_right, description)]


def _judge_client(settings: Settings, seen: SeenClient) -> tuple[bool, str]:
    """Return whether readers can be distinguished and cannot choose who they are, and why."""
    if not seen.is_trusted and settings.uses_https:
        return False, (
            f"set PAYMENTS_TRUSTED_PROXIES to {seen.peer}, which serves https before this, once it "
            "overwrites X-Forwarded-For: unless it is believed, all readers share one network's "
            "limits"
        )
    if not seen.is_trusted:
        return True, f"nobody is before this: what {seen.peer} says of its client is not believed"
    if not seen.hops:
        return (
            False,
            f"{seen.peer} sends no X-Forwarded-For: all readers share one network's limits",
        )
    if seen.is_forgery_passed_on:
        return False, (
            f"{seen.peer} passes X-Forwarded-For on as it was sent: anybody can be anybody, and no "
            "limit holds. It must overwrite it: see deploy/"
        )
    return True, f"{seen.peer} says who its client is; a forged X-Forwarded-For was not believed"
