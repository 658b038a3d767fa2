"""The operator's look at outgoing events."""

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from payments.cli.common import echo_stderr, json_option, run_with_context

if TYPE_CHECKING:
    from payments.infra.context import Context

LINES = 100
DAY = click.DateTime(["%Y-%m-%d"])


@click.group()
def events() -> None:
    """See what was sent to other programs, and send it again."""


@events.command("list")
@json_option
def list_endpoints(as_json: bool) -> None:
    """Print the programs that events are sent to: id, name, host, and whether it is on."""
    from payments.infra.outgoing_events import endpoints

    async def read(ctx: "Context") -> list[dict[str, Any]]:
        async with ctx.sessions() as session:
            return [
                {
                    "id": row.id,
                    "name": row.name,
                    "address": endpoints.shown_address(ctx.settings, row),
                    "state": "on" if row.disabled_reason is None else f"off, {row.disabled_reason}",
                    "kinds": row.kinds,
                }
                for row in await endpoints.list_all(session)
            ]

    _print(run_with_context(read), as_json=as_json)


@events.command("log")
@click.argument("endpoint_id")
@json_option
def show_log(endpoint_id: str, as_json: bool) -> None:
    """Print the last hundred events of a program, the newest first, and what became of each."""
    from payments.infra.outgoing_events import payloads, replays

    async def read(ctx: "Context") -> list[dict[str, Any]]:
        async with ctx.sessions() as session:
            found = await replays.list_deliveries(session, endpoint_id=endpoint_id, limit=LINES)
        return [
            {
                "event": payloads.message_id(event.id),
                "type": event.kind,
                "happened": event.occurred_at.isoformat(),
                "state": delivery.state,
                "attempts": delivery.attempts,
                "status": delivery.response_status,
                "problem": delivery.problem,
            }
            for delivery, event in found
        ]

    _print(run_with_context(read), as_json=as_json)


@events.command("replay")
@click.argument("endpoint_id")
@click.option("--event", help="One event, by its id.")
@click.option("--since", type=DAY, help="All from this day on, in UTC.")
@click.option("--last", type=DAY, help="The last day; without it, today.")
def replay(
    endpoint_id: str, event: str | None, since: datetime | None, last: datetime | None
) -> None:
    """Send a program one event again, or all of some days."""
    from payments.infra.outgoing_events import endpoints, replays

    if (event is None) == (since is None):
        raise click.UsageError("Give --event, or --since.")

    async def run(ctx: "Context") -> int:
        async with ctx.sessions.begin() as session:
            row = await endpoints.get(session, endpoint_id, lock=True)
            if event is not None:
                await replays.replay(session, row, event.removeprefix("evt_"), now=ctx.now())
                return 1
            assert since is not None
            until = ctx.now() if last is None else min(last.replace(tzinfo=UTC), ctx.now())
            return await replays.replay_range(
                session,
                row,
                since=since.replace(tzinfo=UTC),
                until=until + timedelta(days=1),
                now=ctx.now(),
            )

    echo_stderr(f"{run_with_context(run)} are sent again by the worker.")


@events.command("test")
@click.argument("endpoint_id")
def send_test(endpoint_id: str) -> None:
    """Send a program a test event, and print its id."""
    from payments.infra.outgoing_events import endpoints, payloads, replays

    async def run(ctx: "Context") -> str:
        async with ctx.sessions.begin() as session:
            row = await endpoints.get(session, endpoint_id, lock=True)
            return await replays.send_test(session, row, now=ctx.now())

    click.echo(payloads.message_id(run_with_context(run)))


def _print(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(rows))
        return
    for row in rows:
        click.echo("  ".join(_text(value) for value in row.values()))


def _text(value: object) -> str:
    if isinstance(value, list):
        return " ".join(value)
    return "-" if value is None else str(value)
