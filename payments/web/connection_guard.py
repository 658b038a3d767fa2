"""A limit on how many connections one client may hold, for a process that serves by itself.

The server accepts whoever connects and closes what stays silent, but it does not ask who holds how
many. A thread of each process counts, twice a second, the connections to its port by client, and
closes the newest of whoever holds too many. A client is an IPv4 address or an IPv6 /64, and is
not logged. Proxies that the operator trusts may hold any number: they count their clients.
"""

import os
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path

import structlog

from payments.risk import buckets

log = structlog.get_logger("payments.web.connection_guard")

SWEEP_SECONDS = 0.5
LOG_SECONDS = 60.0
STALL_MILLISECONDS = 30_000  # how long a client may take nothing of what it is being sent
CLIENT_PREFIX = (32, 64)  # bits of IPv4 and of IPv6
FD_DIRS = ("/proc/self/fd", "/dev/fd")  # of Linux and of macOS

Peer = tuple[str, int]


@dataclass
class ConnectionGuard:
    """Closes what a client holds beyond its share of one port's connections in this process."""

    port: int
    per_client: int
    trusted: Sequence[IPv4Network | IPv6Network]
    _known: dict[Peer, None] = field(default_factory=dict)  # as of the last sweep, oldest first
    _is_stall_set: bool = False

    def start(self) -> None:
        """Sweep from now on, in a thread that ends with the process."""
        threading.Thread(target=self._run, name="connection-guard", daemon=True).start()

    def sweep(self) -> int:
        """Close the newest connections of clients that hold too many. Returns how many."""
        numbers = _open_files()
        if self._is_stall_set and len(numbers) <= self.per_client:
            self._known = {}
            return 0
        with suppress(OSError):
            return self._close_excess(self._connections(numbers))
        return 0

    def _run(self) -> None:
        closed, logged_at = 0, -LOG_SECONDS
        while True:
            time.sleep(SWEEP_SECONDS)
            closed += self.sweep()
            if closed and time.monotonic() - logged_at >= LOG_SECONDS:
                log.warning("connections_closed", count=closed)
                closed, logged_at = 0, time.monotonic()

    def _connections(self, numbers: Sequence[int]) -> dict[Peer, int]:
        """Return the file of each connection to the port."""
        found: dict[Peer, int] = {}
        for number in numbers:
            with suppress(OSError), _duplicate(number) as sock:
                if sock.family not in (socket.AF_INET, socket.AF_INET6):
                    continue
                if sock.getsockname()[1] != self.port:
                    continue
                if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    self._limit_stalls(sock)
                else:
                    found[sock.getpeername()[:2]] = number
        return found

    def _close_excess(self, found: dict[Peer, int]) -> int:
        known = [peer for peer in self._known if peer in found]
        by_age = dict.fromkeys([*known, *found])
        clients = {host: self.client_of(host) for host in {host for host, _ in found}}
        held: defaultdict[str, int] = defaultdict(int)
        closed = 0
        for peer in list(by_age):
            if (client := clients[peer[0]]) is None:
                continue
            held[client] += 1
            if held[client] > self.per_client:
                closed += _close(found[peer], peer)
                del by_age[peer]
        self._known = by_age
        return closed

    def client_of(self, host: str) -> str | None:
        """Return who counts as one client; None for a proxy that is trusted."""
        ip = ip_address(host.partition("%")[0])
        if ip.version == 6 and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        if any(ip in network for network in self.trusted):
            return None
        return buckets.network_of(str(ip), CLIENT_PREFIX)

    def _limit_stalls(self, listener: socket.socket) -> None:
        """Have the system end connections whose client takes nothing; they inherit it from here."""
        if not self._is_stall_set and hasattr(socket, "TCP_USER_TIMEOUT"):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, STALL_MILLISECONDS)
        self._is_stall_set = True


def _open_files() -> list[int]:
    for folder in FD_DIRS:
        with suppress(OSError):
            return sorted(int(file.name) for file in Path(folder).iterdir())
    return []


def _duplicate(number: int) -> socket.socket:
    """Return a socket of its own for a file, which stays the same if the number is used anew.

    Raises OSError if it is no socket.
    """
    copy = os.dup(number)
    try:
        return socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        raise


def _close(number: int, peer: Peer) -> bool:
    """End a connection, unless it has ended meanwhile. Returns whether it was there."""
    with suppress(OSError), _duplicate(number) as sock:
        if sock.getpeername()[:2] == peer:
            sock.shutdown(socket.SHUT_RDWR)
            return True
    return False
