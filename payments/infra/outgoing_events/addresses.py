"""Which addresses an endpoint may have: public ones, by https.

Whoever may name an address could have this service ask what only it can reach: a metadata service,
a database, a neighbour. So an address is looked at twice: when an endpoint is saved, and for each
connection, where what is checked is what is connected to. A name that resolves differently a moment
later reaches nothing.
"""

import asyncio
import re
import socket
from ipaddress import IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from payments.core.errors import InvalidField
from payments.core.settings import Settings

MAX_URL_LENGTH = 500
NOTHING_SAVED = "Nothing was saved."
# The IPv6 addresses that are given out on the internet. Outside are the old private ones
# (fec0::/10), and most that carry an IPv4 address within: where those lead is for a gateway to say.
# https://www.iana.org/assignments/ipv6-address-space/
GIVEN_OUT = IPv6Network("2000::/3")
NOT_PUBLIC = (
    IPv6Network("2001::/32"),  # Teredo, which carries an IPv4 address
    IPv6Network("2002::/16"),  # 6to4, which does as well
    IPv6Network("3fff::/20"),  # for documentation
)


def allows_loopback(settings: Settings) -> bool:
    """Whether http to this machine is allowed: in a demo and in tests, never in production."""
    return settings.environment != "production" and not settings.livemode


def is_public(address: str) -> bool:
    """Whether an IP address is one of the internet's, which anybody may ask."""
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address) and (
        ip not in GIVEN_OUT or any(ip in network for network in NOT_PUBLIC)
    ):
        return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def is_allowed(address: str, *, loopback: bool) -> bool:
    """Whether an endpoint may be at an IP address; `loopback` allows this machine's own."""
    is_here = ip_address(address.partition("%")[0]).is_loopback
    return is_here if loopback and is_here else is_public(address)


def validate_url(url: str, *, loopback: bool) -> str:
    """Return the URL of an endpoint, if it is written as one. Raises InvalidField."""
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname or "", parts.port
    except ValueError:
        host = ""
    if not host or not re.fullmatch(rf"[!-~]{{1,{MAX_URL_LENGTH}}}", url):
        raise InvalidField(
            f"An address is a whole URL without blanks, such as https://hooks.example.org/gifts. "
            f"{NOTHING_SAVED}",
            field="url",
        )
    if "@" in parts.netloc or parts.fragment:
        raise InvalidField(
            f"The address has no name, password or fragment. {NOTHING_SAVED}", field="url"
        )
    is_here = host in ("localhost", "127.0.0.1", "::1")
    if parts.scheme != "https" and not (parts.scheme == "http" and loopback and is_here):
        raise InvalidField(f"The address begins with https://. {NOTHING_SAVED}", field="url")
    return url


async def require_public(url: str, *, loopback: bool) -> None:
    """Look an endpoint's host up. Raises InvalidField unless all its addresses are allowed."""
    parts = urlsplit(url)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            parts.hostname, parts.port or 443, type=socket.SOCK_STREAM
        )
    except (OSError, UnicodeError):
        raise InvalidField(
            f"The host of this address is not known. {NOTHING_SAVED}", field="url"
        ) from None
    if not all(is_allowed(str(sockaddr[0]), loopback=loopback) for *_, sockaddr in found):
        raise InvalidField(
            f"This address is not a public one: it leads into a private network. {NOTHING_SAVED}",
            field="url",
        )
