"""The least a webhook endpoint can do: verify the signature and store nothing."""

from datetime import UTC, datetime
from typing import Any

from litestar import Litestar, Request, post

from tests.bench.load import SECRET
from webhooks import intake

KEYS = (SECRET.encode(),)


@post("/webhooks/stripe", status_code=200)
async def stripe(request: Request[Any, Any, Any]) -> None:
    """Verify the signature."""
    body = await request.body()
    intake.verify_signature(
        body, request.headers["stripe-signature"], keys=KEYS, now=datetime.now(UTC)
    )


def create_app() -> Litestar:
    """Return the application."""
    return Litestar([stripe], openapi_config=None, logging_config=None)
