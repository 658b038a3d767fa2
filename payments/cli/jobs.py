"""The operator's look at the jobs that failed, and having them done once more."""

import json
from typing import TYPE_CHECKING

import click

from payments.cli.common import echo_stderr, json_option, run_with_context

if TYPE_CHECKING:
    from payments.infra.context import Context


@click.group()
def jobs() -> None:
    """Work that failed until no attempt was left, and once more for it."""


@jobs.command("list")
@json_option
def list_failed(as_json: bool) -> None:
    """List what failed, oldest first: the kind of job and the id of what it is about."""
    from payments.infra import job_queue

    async def read(ctx: "Context") -> list[tuple[str, str]]:
        async with ctx.sessions() as session:
            return await job_queue.list_failed(session)

    failed = run_with_context(read)
    if as_json:
        click.echo(json.dumps([{"job": job, "id": object_id} for job, object_id in failed]))
        return
    for job, object_id in failed:
        click.echo(f"{job} {object_id}")
    echo_stderr(f"{len(failed)} failed.")


@jobs.command("retry")
@click.argument("object_ids", nargs=-1, metavar="[ID]...")
@click.option("--all", "everything", is_flag=True, help="All that `payments jobs list` lists.")
def retry(object_ids: tuple[str, ...], everything: bool) -> None:
    """Have the worker try again: an object that failed by its id, or a schedule by its name."""
    from payments.infra import job_queue, retries

    if everything == bool(object_ids):
        raise click.UsageError("Name what to try again, or use --all.")

    async def enqueue(ctx: "Context") -> dict[str, int]:
        async with ctx.sessions.begin() as session:
            ids = object_ids
            if everything:
                ids = tuple(id_ for _, id_ in await job_queue.list_failed(session))
            return await retries.retry_objects(session, ids)

    counts = run_with_context(enqueue)
    for object_id, count in counts.items():
        if not count:
            echo_stderr(f"{object_id}: nothing of it has failed.")
    echo_stderr(f"{sum(counts.values())} are tried again by the worker.")
    if not all(counts.values()):
        raise click.exceptions.Exit(1)
