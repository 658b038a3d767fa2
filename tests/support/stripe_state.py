"""What a sandbox holds at a moment, to be put into another."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from payments.sandbox.api import LoggedRequest
from payments.sandbox.sandbox import Sandbox


@dataclass(frozen=True)
class StripeState:
    """Everything of an account, and the requests it has answered."""

    saved: bytes
    url: str  # of the sandbox
    requests: tuple[LoggedRequest, ...]

    @classmethod
    def of(cls, sandbox: Sandbox) -> "StripeState":
        """Return what a sandbox holds now."""
        with TemporaryDirectory() as folder:
            file = Path(folder, "stripe.json")
            sandbox.save(file)
            return cls(file.read_bytes(), sandbox.url, tuple(sandbox.requests))

    def restore(self, sandbox: Sandbox) -> None:
        """Make a new sandbox hold the same, as if all had been there: in past events too."""
        assert sandbox.requests == []
        with TemporaryDirectory() as folder:
            file = Path(folder, "stripe.json")
            file.write_bytes(self.saved.replace(self.url.encode(), sandbox.url.encode()))
            sandbox.load(file)
        sandbox.api.request_log.extend(self.requests)
