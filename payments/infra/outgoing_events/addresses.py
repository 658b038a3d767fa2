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
# What carries an IPv4 address within: where it leads is for a gateway to say.
TRANSLATED = tuple(
    IPv6Network(text)
    for text in (
        "::/96",
        "::ffff:0:0/96",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "2001::/32",
        "2002::/16",
    )
)


def allows_loopback(settings: Settings) -> bool:
    """Whether http to this machine is allowed: in a demo and in tests, never in production."""
    return settings.environment != "production" and not settings.livemode


def is_public(address: str) -> bool:
    """Whether an IP address is one of the internet's, which anybody may ask."""
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address) and any(ip in network for network in TRANSLATED):
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
