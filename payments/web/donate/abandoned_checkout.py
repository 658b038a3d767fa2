"""The tick on the form: "If I do not finish, remind me once". It is never ticked for a reader."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from payments.core import calendar
from payments.core.errors import InvalidField
from payments.core.settings import Settings
from payments.giving.checkout_session import Ask
from payments.infra.context import Runtime
from payments.mail import smtp
from payments.signups import abandoned_checkout, address_vault, reminder_schedule
from payments.signups.reminder_schedule import Wish
from payments.web import locale

TICK, ADDRESS = "remind", "remind_address"
FIELDS = frozenset({TICK, ADDRESS})


@dataclass(frozen=True, slots=True)
class Unfinished:
    """What would be sent to whom."""

    wish: Wish
    address: str


def is_offered(settings: Settings) -> bool:
    return address_vault.can_keep(settings) and smtp.is_configured(settings)


def wanted(rt: Runtime, typed: Mapping[str, str], ask: Ask) -> Unfinished | None:
    """What a reader ticked. An address without the tick is not looked at. Raises InvalidField."""
    if not typed.get(TICK) or not is_offered(rt.settings):
        return None
    try:
        address = address_vault.normal(typed.get(ADDRESS, ""))
    except InvalidField as error:
        raise InvalidField(error.sentence, field=ADDRESS) from None
    zone = rt.settings.accounting_zone
    tomorrow = calendar.local_day(rt.now(), zone) + timedelta(days=1)
    return Unfinished(
        reminder_schedule.wish(
            rt.now(),
            zone,
            on=tomorrow,
            frequency=ask.frequency,
            gift=ask.money,
            language=locale.spoken(),
        ),
        address,
    )


async def watch(rt: Runtime, contribution_id: str, ticked: Unfinished | None) -> None:
    """Keep it until it is known whether the reader finished."""
    if ticked is None:
        return
    async with rt.sessions.begin() as session:
        await abandoned_checkout.watch(
            session,
            rt.settings,
            ticked.wish,
            address=ticked.address,
            contribution_id=contribution_id,
            now=rt.now(),
        )
