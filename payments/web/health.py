"""Health checks and metrics, for the operator's tools. Nothing is about a person."""

from typing import Any

import prometheus_client
from litestar import Response, get
from litestar.di import NamedDependency
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError, SQLAlchemyError

from payments.infra import job_queue, migrate
from payments.infra.context import Context
from payments.web.bearer_token import require_bearer_token
from payments.web.forms import AnyRequest


@get("/health/live", include_in_schema=False)
async def live() -> dict[str, str]:
    """Liveness: the process answers."""
    return {"status": "ok"}


@get("/health/ready", include_in_schema=False)
async def ready(ctx: NamedDependency[Context]) -> Response[dict[str, Any]]:
    """Readiness: the database answers and has the schema this code expects."""
    try:
        async with ctx.sessions() as session:
            revision = await session.scalar(text("SELECT version_num FROM alembic_version"))
            job_counts = await job_queue.job_counts(session)
    except ProgrammingError:  # a table is not there
        revision = None
    except (SQLAlchemyError, OSError):
        return Response({"status": "no database"}, status_code=503)
    if revision != migrate.head_revision():
        return Response({"status": "migrations missing"}, status_code=503)
    return Response({"status": "ok", "jobs": dict(job_counts)})


@get("/metrics", include_in_schema=False)
async def metrics(ctx: NamedDependency[Context], request: AnyRequest) -> Response[bytes]:
    """Prometheus text, for the bearer of PAYMENTS_METRICS_TOKEN. Not found without one."""
    require_bearer_token(request, ctx.settings.metrics_token)
    return Response(
        prometheus_client.generate_latest(), media_type=prometheus_client.CONTENT_TYPE_LATEST
    )
