"""The demo's year, played once: what its sandbox holds then, saved to a file."""

from pathlib import Path

import uvloop

from payments.ops.demo import runner, seed
from payments.ops.demo.simulation import ManualClock
from payments.sandbox import Sandbox, listen
from tests.support.newsroom import NOON, set_up_stripe, settings_for


def play(database_url: str, folder: Path) -> Path:
    """Play the year. Returns the file that `Sandbox.load` reads."""
    uvloop.run(_play(database_url, folder))
    return folder / "sandbox.json"


async def _play(database_url: str, folder: Path) -> None:
    clock = ManualClock(NOON)
    sandbox = Sandbox(wall=clock)
    inbox = folder / "inbox"
    with runner.mail_server(inbox) as smtp_url:
        async with listen(sandbox) as stripe_url:
            more = {
                "smtp_url": smtp_url,
                "demo_inbox_dir": str(inbox),
                "environment": "demo",
                "address_key_dir": str(folder / "keys"),
                "mail_from": "post@lindenau.example",
            }
            settings = await set_up_stripe(settings_for(database_url, stripe_url, **more))
            await seed.seed_history(settings, sandbox, clock, on_day=lambda _day, _of: None)
            sandbox.save(folder / "sandbox.json")
