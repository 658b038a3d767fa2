"""What an operator watches, read from the database at each scrape: the same from every process.

Counts, ages and sums of money, by closed sets of labels; nothing is about a person or one payment.
Ages are in seconds, amounts in minor units. `docs/metrics.md` is the reference, and
`deploy/prometheus-rules.yml` has the alerts.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.infra.context import Context


@dataclass(frozen=True, slots=True)
class Question:
    """One metric: its SQL returns a label (where there is one) and a value for each row."""

    name: str
    help: str
    label: str | None
    sql: str


QUESTIONS = (
    Question(
        "payments_jobs",
        "Background jobs, by status.",
        "status",
        "SELECT status::text, count(*) FROM procrastinate_jobs GROUP BY status",
    ),
    Question(
        "payments_jobs_due",
        "Jobs that could run now, by the object they fetch or the schedule's queue.",
        "kind",
        """
        SELECT coalesce(args->>'object_type', queue_name), count(*)
          FROM procrastinate_jobs
         WHERE status = 'todo' AND coalesce(scheduled_at, now()) <= now()
         GROUP BY 1
        """,
    ),
    Question(
        "payments_jobs_due_seconds",
        "How long the oldest of them has been due.",
        "kind",
        """
        SELECT coalesce(job.args->>'object_type', job.queue_name),
               max(extract(epoch FROM now() - coalesce(job.scheduled_at, deferred.at)))
          FROM procrastinate_jobs AS job
         CROSS JOIN LATERAL (SELECT min(event.at) AS at FROM procrastinate_events AS event
                              WHERE event.job_id = job.id AND event.type = 'deferred') AS deferred
         WHERE job.status = 'todo' AND coalesce(job.scheduled_at, now()) <= now()
         GROUP BY 1
        """,
    ),
    Question(
        "payments_workers",
        "Workers whose heartbeat is at most 30 seconds old.",
        None,
        """
        SELECT count(*) FROM procrastinate_workers
         WHERE last_heartbeat > now() - interval '30 seconds'
        """,
    ),
    Question(
        "payments_worker_heartbeat_seconds",
        "Age of the newest heartbeat of any worker; absent where none was ever there.",
        None,
        "SELECT extract(epoch FROM now() - max(last_heartbeat)) FROM procrastinate_workers",
    ),
    Question(
        "payments_event_received_seconds",
        "Since the last event of Stripe's arrived; absent after three days.",
        None,
        """
        SELECT extract(epoch FROM :now - max(received_at)) FROM stripe_events
         WHERE received_at > :now - interval '3 days'
        """,
    ),
    Question(
        "payments_import_seconds",
        "Since Stripe's list of balance transactions was last read to its end.",
        None,
        """
        SELECT extract(epoch FROM :now - reached_at) FROM import_cursors
         WHERE name = 'import_completed'
        """,
    ),
    Question(
        "payments_mails",
        "Mails in the outbox, by status.",
        "status",
        "SELECT status, count(*) FROM outbox_mails GROUP BY status",
    ),
    Question(
        "payments_mail_pending_seconds",
        "How long the oldest pending mail has waited.",
        None,
        """
        SELECT extract(epoch FROM :now - min(created_at)) FROM outbox_mails
         WHERE status = 'pending'
        """,
    ),
    Question(
        "payments_outgoing_events",
        "Outgoing events of the last 14 days, by what became of them.",
        "state",
        "SELECT state, count(*) FROM event_deliveries GROUP BY state",
    ),
    Question(
        "payments_unposted_transactions",
        "Balance transactions that wait for their contribution: their sum could be one gift's.",
        None,
        "SELECT count(*) FROM unposted_transactions",
    ),
    Question(
        "payments_suspense_amount",
        "What stands in suspense, by currency.",
        "currency",
        """
        SELECT currency, sum(CASE debit WHEN 'suspense' THEN amount ELSE -amount END)
          FROM daily_totals
         WHERE 'suspense' IN (debit, credit)
         GROUP BY currency
        """,
    ),
    Question(
        "payments_integrity_check_seconds",
        "Since the books were last proved.",
        None,
        "SELECT extract(epoch FROM :now - max(checked_at)) FROM integrity_checks",
    ),
    Question(
        "payments_integrity_checks_failed",
        "Integrity checks whose last result was not good.",
        None,
        "SELECT count(*) FROM integrity_checks WHERE failures <> '[]'",
    ),
    Question(
        "payments_charges_last_hour",
        "Attempts to charge within the last hour, by status.",
        "status",
        """
        SELECT status, count(*) FROM charges
         WHERE charged_at > :now - interval '1 hour' GROUP BY status
        """,
    ),
    Question(
        "payments_alerts_open",
        "Open alerts, by kind.",
        "kind",
        "SELECT kind, count(*) FROM alerts WHERE closed_at IS NULL GROUP BY kind",
    ),
    Question(
        "payments_disputes_due_seconds",
        "Until the first answer to a dispute is due; below zero once it is too late.",
        None,
        """
        SELECT extract(epoch FROM min(evidence_due_at) - :now) FROM disputes
         WHERE status IN ('needs_response', 'warning_needs_response')
        """,
    ),
)


@dataclass(frozen=True, slots=True)
class Answers(Collector):
    """The metrics of one scrape."""

    families: tuple[Metric, ...]

    def collect(self) -> Iterator[Metric]:
        """Yield each metric."""
        yield from self.families


async def read(ctx: Context) -> Answers:
    """Ask the database every question."""
    async with ctx.sessions() as session:
        return Answers(tuple([await _family(session, one, ctx) for one in QUESTIONS]))


async def _family(session: AsyncSession, question: Question, ctx: Context) -> Metric:
    labels = [] if question.label is None else [question.label]
    family = GaugeMetricFamily(question.name, question.help, labels=labels)
    statement = text(question.sql)
    params = {"now": ctx.now()} if ":now" in question.sql else {}
    for row in await session.execute(statement, params):
        if row[-1] is not None:
            family.add_metric([str(label) for label in row[:-1]], float(row[-1]))
    return family
