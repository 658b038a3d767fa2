"""A worker of its own, by a clock in a file: started, killed and started again by the storm."""

import asyncio
import sys
from datetime import datetime
from pathlib import Path

from payments.core import settings
from payments.infra import context, logs
from payments.ops import worker
from payments.signups import reminder_sender


async def work(clock: Path) -> None:
    def now() -> datetime:
        return datetime.fromisoformat(clock.read_text())

    async with context.opened(settings.load(), now=now, pool_size=6) as rt:
        while True:  # until it is killed
            await reminder_sender.ring_due(rt)
            await reminder_sender.invite(rt)
            await worker.drain(rt, concurrency=3)


logs.configure("error")
asyncio.run(work(Path(sys.argv[1])))
