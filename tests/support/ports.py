"""Ports of this machine that nobody else takes meanwhile."""

import platform
import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def reserve_port() -> Iterator[int]:
    """Reserve a port: until the end the system gives it to nobody who asks for any port.

    Whoever names it can listen there, stop, and listen again; in between, nobody can connect.
    """
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        port: int = holder.getsockname()[1]
        if platform.system() == "Linux":  # elsewhere a bound port cannot be shared, and is let go
            # Only after it is bound: a socket that shares from the start is given others' ports.
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            yield port
            return
    yield port
