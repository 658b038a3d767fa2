"""PgBouncer before a database, as operators run it."""

import os
import pwd
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy.engine import URL, make_url

from tests.support.ports import reserve_port
from tests.support.proxies import running

CONFIG = """
[databases]
{name} = host={server} user={user}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = 20
"""


@asynccontextmanager
async def pooler_before(url: str, mode: str) -> AsyncIterator[str]:
    """Run a pooler that gives sessions or transactions to clients. Yields the URL that leads to it.
    Skips the test where PgBouncer is not installed.
    """
    at = make_url(url)
    with reserve_port() as port, TemporaryDirectory() as folder:
        async with running(_command(at, mode, port, Path(folder)), port, Path(folder)):
            pooled = at.set(host="127.0.0.1", port=port, query={})
            yield pooled.render_as_string(hide_password=False)


def _command(at: URL, mode: str, port: int, folder: Path) -> list[str]:
    file, server = folder / "pgbouncer.ini", str(at.query.get("host") or at.host)
    values = {"name": at.database, "server": server, "user": at.username, "port": port}
    file.write_text(CONFIG.format(mode=mode, **values))
    if os.geteuid() != 0:
        return ["pgbouncer", "-q", str(file)]
    folder.chmod(0o755)  # root is refused: as who owns the server's socket
    owner = (
        pwd.getpwuid(Path(server).stat().st_uid)
        if server.startswith("/")
        else pwd.getpwnam("nobody")
    )
    return ["pgbouncer", "-u", owner.pw_name, "-q", str(file)]
