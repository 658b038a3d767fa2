"""A worker of its own, by a clock in a file: started, killed and started again by the storm."""

import asyncio
import sys
from datetime import datetime
from pathlib import Path

from payments.core import settings
from payments.infra import context, logs
from payments.ops import worker
from payments.signups import reminder_sender


async def run(clock: Path) -> None:
    def now() -> datetime:
        return datetime.fromisoformat(clock.read_text())

    async with context.open_context(settings.load(), now=now, pool_size=6) as ctx:
        while True:  # until it is killed
            await reminder_sender.enqueue_due(ctx)
            await reminder_sender.send_confirmations(ctx)
            await worker.run_due_jobs(ctx, concurrency=3)


logs.configure("error")
asyncio.run(run(Path(sys.argv[1])))
