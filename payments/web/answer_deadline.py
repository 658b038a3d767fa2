"""Nobody waits longer for an answer than a proxy or a person does, whatever Stripe does."""

from litestar.types import ASGIApp, Receive, Scope, Send

from payments.infra import stripe_client

STRIPE_SECONDS = 10.0  # of the 12 in which a request is answered


class AnswerDeadline:
    """An application whose requests have so long for all that they ask of Stripe."""

    def __init__(self, app: ASGIApp, seconds: float = STRIPE_SECONDS) -> None:
        """Wrap an application."""
        self.app = app
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request. What Stripe did not answer in time counts as not answered."""
        with stripe_client.answer_within(self.seconds):
            await self.app(scope, receive, send)
