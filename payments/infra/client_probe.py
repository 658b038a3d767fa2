"""The probe of the proxies: asks the public address, with a forged sender, what arrives of it.

A proxy that passes X-Forwarded-For on as it was sent lets everybody choose their network, and with
it have no limit; one that is not trusted hides all readers behind one address. Neither can be seen
from inside, so the doctor asks from outside.
"""

from dataclasses import dataclass
from datetime import timedelta

import aiohttp
import msgspec

from payments.core.errors import LinkInvalid, NotFound
from payments.infra import signing
from payments.infra.context import Context

PATH = "/health/client"
FORGED = "192.0.2.123"  # RFC 5737: an address that nobody has
PURPOSE, TOKEN_LIFETIME = "client-probe", timedelta(minutes=5)
TIMEOUT_SECONDS = 10.0
MAX_ANSWER_BYTES = 10_000


class Unreachable(Exception):
    """Nothing of ours answered at the address."""


@dataclass(frozen=True, slots=True)
class SeenClient:
    """What arrived of a request: who connected, whether they are trusted, and X-Forwarded-For."""

    peer: str
    is_trusted: bool
    hops: tuple[str, ...]

    @property
    def is_forgery_passed_on(self) -> bool:
        """Whether the newest hop is what the client wrote: then anybody can be anybody."""
        return self.hops[-1:] == (FORGED,)


def require_token(ctx: Context, authorization: str) -> None:
    """Raise NotFound unless a request was signed with our keys within some minutes."""
    try:
        signing.verify_token(
            ctx.settings.hmac_keys,
            PURPOSE,
            authorization.removeprefix("Bearer "),
            str,
            now=ctx.now(),
            max_age=TOKEN_LIFETIME,
        )
    except LinkInvalid:
        raise NotFound("There is nothing at this address.") from None


async def send(ctx: Context, origin: str) -> SeenClient:
    """Ask an origin of ours, as whoever forges their address would. Raises Unreachable."""
    if not ctx.settings.hmac_keys:
        raise Unreachable("PAYMENTS_SECRET_KEYS is not set")
    token = signing.sign_token(ctx.settings.hmac_keys, PURPOSE, "doctor", now=ctx.now())
    headers = {"authorization": f"Bearer {token}", "x-forwarded-for": FORGED, "x-real-ip": FORGED}
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as web,
            web.get(f"{origin}{PATH}", headers=headers, allow_redirects=False) as response,
        ):
            body = await response.content.read(MAX_ANSWER_BYTES)
            if response.status != 200:
                raise Unreachable(f"answered {response.status}")
            return msgspec.json.decode(body, type=SeenClient)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Unreachable(type(error).__name__) from None
    except msgspec.DecodeError:
        raise Unreachable("answered something else") from None
