"""A worker in a process of its own, with a clock in a file; test_reminder_sender kills it."""

import asyncio
import sys
from datetime import datetime
from pathlib import Path

from payments.core import settings
from payments.infra import context, logs
from payments.ops import worker
from payments.signups import reminder_sender


async def run(clock_file: Path) -> None:
    """Send reminders until the process is killed."""

    def now() -> datetime:
        return datetime.fromisoformat(clock_file.read_text())

    async with context.open_context(settings.load(), now=now, pool_size=6) as ctx:
        while True:
            await reminder_sender.enqueue_due(ctx)
            await reminder_sender.send_confirmations(ctx)
            await worker.run_due_jobs(ctx, concurrency=3)


logs.configure("error")
asyncio.run(run(Path(sys.argv[1])))
