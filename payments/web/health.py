"""Health checks and metrics, for the operator's tools. Nothing is about a person."""

from typing import Any

import structlog
from litestar import Response, get
from litestar.di import NamedDependency
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError, SQLAlchemyError

from payments.infra import client_probe, migrate
from payments.infra import metrics as metrics_of_processes
from payments.infra.context import Context
from payments.web import operator_metrics, risk_check
from payments.web.bearer_token import require_bearer_token
from payments.web.forms import AnyRequest

log = structlog.get_logger("payments.web.health")
_READINESS_SQL = text(
    "SELECT version_num, obj_description(CAST('alembic_version' AS regclass)) AS note,"
    "       current_setting('transaction_read_only') = 'on' AS is_read_only"
    "  FROM alembic_version"
)


@get("/health/live", include_in_schema=False)
async def live() -> dict[str, str]:
    """Liveness: the process answers."""
    return {"status": "ok"}


@get("/health/ready", include_in_schema=False)
async def ready(ctx: NamedDependency[Context]) -> Response[dict[str, str]]:
    """Readiness: the database answers, takes changes and has the schema this code expects.

    Anybody may ask, so the answer is yes or no and never says how much there is to do: whoever can
    watch a count learns what somebody else's request caused. Why not is in the log.
    """
    reason = await _reason_not_ready(ctx)
    if reason is not None:
        log.warning("not_ready", outcome=reason)
        return Response({"status": "unavailable"}, status_code=503)
    return Response({"status": "ok"})


async def _reason_not_ready(ctx: Context) -> str | None:
    try:
        async with ctx.sessions() as session:
            found = (await session.execute(_READINESS_SQL)).one_or_none()
    except ProgrammingError:  # the table is not there
        return "migrations_missing"
    except (SQLAlchemyError, OSError):
        return "no_database"
    if found is None or not migrate.serves(found.version_num, found.note):
        return "migrations_missing"
    return "database_read_only" if found.is_read_only else None


@get(client_probe.PATH, include_in_schema=False)
async def seen_client(ctx: NamedDependency[Context], request: AnyRequest) -> dict[str, Any]:
    """Say what arrives of a request, for the doctor alone. Not found for others."""
    client_probe.require_token(ctx, request.headers.get("authorization", ""))
    peer = risk_check.peer_address(request)
    return {
        "peer": peer,
        "is_trusted": risk_check.is_trusted(ctx.settings, peer),
        "hops": risk_check.forwarded_hops(request),
    }


@get("/metrics", include_in_schema=False)
async def metrics(ctx: NamedDependency[Context], request: AnyRequest) -> Response[bytes]:
    """Prometheus text, for the bearer of PAYMENTS_METRICS_TOKEN. Not found without one."""
    require_bearer_token(request, ctx.settings.metrics_token)
    answers = await operator_metrics.read(ctx)
    body = generate_latest(metrics_of_processes.counted()) + generate_latest(answers)
    return Response(body, media_type=CONTENT_TYPE_LATEST)
