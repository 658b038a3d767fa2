"""A worker of its own, by a clock in a file: started, killed and started again by the storm."""

import asyncio
import sys
from datetime import datetime
from pathlib import Path

from payments import logs, reminding, runtime, settings, worker


async def work(clock: Path) -> None:
    def now() -> datetime:
        return datetime.fromisoformat(clock.read_text())

    async with runtime.opened(settings.load(), now=now, pool_size=6) as rt:
        while True:  # until it is killed
            await reminding.ring_due(rt)
            await reminding.invite(rt)
            await worker.drain(rt, concurrency=3)


logs.configure("error")
asyncio.run(work(Path(sys.argv[1])))
