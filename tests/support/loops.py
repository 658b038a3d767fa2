"""The event loop of the tests: the one that `serve` and `work` run on."""

from typing import Any, TypeAlias

AnyioBackend: TypeAlias = tuple[str, dict[str, Any]]

ANYIO_BACKEND: AnyioBackend = ("asyncio", {"use_uvloop": True})
