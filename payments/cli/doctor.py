"""The operator's check of the installation."""

import json
import sys

import click

from payments.cli.common import EXIT_PROBLEMS, echo_stderr, json_option, run_with_context


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def doctor(command: click.Context, as_json: bool) -> None:
    """Look at Stripe, mail, DNS, keys, clock and database; exit 4 if something is not right."""
    if command.invoked_subcommand is not None:
        return
    from payments.ops import doctor as checks

    findings = run_with_context(checks.run_checks)
    if as_json:
        click.echo(
            json.dumps(
                [{"name": f.name, "ok": f.ok, "description": f.description} for f in findings]
            )
        )
    else:
        for finding in findings:
            mark = "ok     " if finding.ok else "PROBLEM"
            click.echo(f"{mark} {finding.name}: {finding.description}")
    sys.exit(0 if all(f.ok for f in findings) else EXIT_PROBLEMS)


@doctor.command("ack-descriptor")
def doctor_ack_descriptor() -> None:
    """Write down that somebody has looked at real bank statements today, and they are right."""
    from payments.safety import descriptor_review

    run_with_context(descriptor_review.record_review)
    days = descriptor_review.REVIEW_INTERVAL.days
    echo_stderr(f"Written down. The doctor will ask again in {days} days.")
