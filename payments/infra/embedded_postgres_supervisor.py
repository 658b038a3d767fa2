"""The supervisor of an embedded PostgreSQL: one server, for as long as one parent process lives.

`embedded_postgres` runs this file as a script, in a session of its own, so that neither Ctrl-C nor
`kill -9` of the parent leaves a server or a directory behind. When its standard input ends, it ends
the server. It imports only the standard library, so that it starts quickly.
"""

import ctypes
import json
import os
import pwd
import re
import select
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypedDict

MIN_VERSION = 15
UNPRIVILEGED_USERS = ("postgres", "nobody", "daemon")


class ServerSpec(TypedDict):
    """What the parent passes: directories as paths, and settings for the command line."""

    home: str
    parent_pid: int
    bins: list[str]
    bundle: list[str]
    settings: dict[str, str]


class CannotStart(Exception):
    """PostgreSQL cannot be run on this machine; the message says why."""


@dataclass(frozen=True)
class RunAs:
    """The user that the server runs as: ours or, since PostgreSQL refuses root, another one."""

    uid: int | None = None
    gid: int | None = None
    initdb_prefix: tuple[str, ...] = ()
    server_prefix: tuple[str, ...] = ()


@dataclass(frozen=True)
class PostgresInstall:
    """The directory of a PostgreSQL's programs, and its major version."""

    bin: Path
    version: int


def main(spec: ServerSpec) -> int:
    """Serve a new database until the parent is gone, then remove it. Returns the exit code."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _exit_on_signal)
    home = Path(spec["home"])
    try:
        account = choose_run_as()
        if account.uid is not None and account.gid is not None:
            os.chown(home, account.uid, account.gid)
        install = find_install(spec, account)
        with (home / "log").open("ab") as log:
            create_database(install, account, home, log)
            run_server(install, account, spec, log)
    except (CannotStart, OSError, subprocess.SubprocessError) as error:
        _report_to_parent(f"{error}\n{_log_tail(home / 'log')}".strip())
        return 1
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        shutil.rmtree(home, ignore_errors=True)
    return 0


def choose_run_as() -> RunAs:
    """Return the current user if PostgreSQL accepts it, else an existing unprivileged user.

    Raises CannotStart.
    """
    if os.geteuid() != 0:
        try:
            pwd.getpwuid(os.geteuid())
        except KeyError:
            # initdb needs its user to have a name, the server does not.
            return RunAs(initdb_prefix=_user_namespace_prefix())
        return RunAs()
    user = _unprivileged_user()
    try:
        subprocess.run(["true"], user=user.pw_uid, group=user.pw_gid, extra_groups=[], check=True)  # noqa: S607 - any `true` will do
    except (OSError, subprocess.SubprocessError):
        # A root that may not change its user, as in some containers.
        return RunAs(initdb_prefix=_user_namespace_prefix(), server_prefix=_user_namespace_prefix())
    return RunAs(uid=user.pw_uid, gid=user.pw_gid)


def find_install(spec: ServerSpec, run_as: RunAs) -> PostgresInstall:
    """Return the first PostgreSQL that the user can run, copied to where it can if need be.

    Raises CannotStart, naming each that was tried.
    """
    errors = []
    for folder in map(Path, spec["bins"]):
        try:
            return _require_usable(folder, run_as, spec)
        except (OSError, subprocess.SubprocessError, CannotStart) as error:
            errors.append(f"{folder}: {error}")
        if any(folder.is_relative_to(part) for part in spec["bundle"]):
            try:
                return _require_usable(_copy_bundle(folder, run_as, spec), run_as, spec)
            except (OSError, subprocess.SubprocessError, CannotStart) as error:
                errors.append(f"a copy of it: {error}")
    raise CannotStart("\n".join(["no PostgreSQL here can be run", *errors]))


def create_database(install: PostgresInstall, run_as: RunAs, home: Path, log: IO[bytes]) -> None:
    """Run initdb: UTF-8, the same collation everywhere, and no password in a private directory."""
    options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
    if install.version >= 17:
        options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    command = [*run_as.initdb_prefix, str(install.bin / "initdb"), f"--pgdata={home / 'data'}"]
    with _spawn([*command, *options], run_as, home, log) as initdb:
        try:
            code = initdb.wait(timeout=30)
        finally:
            initdb.kill()
    if code != 0:
        raise CannotStart(f"initdb ended with {code}")


def run_server(install: PostgresInstall, run_as: RunAs, spec: ServerSpec, log: IO[bytes]) -> None:
    """Run the server until the parent releases it. Raises CannotStart if it ends by itself."""
    home = Path(spec["home"])
    settings = {**spec["settings"], "unix_socket_directories": str(home)}
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    command = [*run_as.server_prefix, str(install.bin / "postgres"), "-D", str(home / "data")]
    with _spawn([*command, *options], run_as, home, log) as server:
        try:
            wait_until_released(server, spec["parent_pid"])
            code = server.poll()
        finally:
            stop_server(server)
            _free_shared_memory(home / "data" / "postmaster.pid")
    if code is not None:
        raise CannotStart(f"postgres ended with {code}")


def wait_until_released(server: subprocess.Popen[bytes], parent_pid: int) -> None:
    """Return when the server has ended, the parent has closed our input, or the parent is gone."""
    while server.poll() is None:
        # A forked child of the parent may hold the pipe open, so the parent is checked as well.
        input_ended = select.select([sys.stdin], [], [], 0.5)[0]
        if input_ended or os.getppid() != parent_pid:
            return


def stop_server(server: subprocess.Popen[bytes]) -> None:
    """Request a fast shutdown, then an immediate one, then kill the server."""
    for number, seconds in ((signal.SIGINT, 10), (signal.SIGQUIT, 5), (signal.SIGKILL, 5)):
        if server.poll() is not None:
            return
        server.send_signal(number)
        try:
            server.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            continue


def _exit_on_signal(*_: object) -> None:
    raise SystemExit(0)


def _unprivileged_user() -> pwd.struct_passwd:
    for name in UNPRIVILEGED_USERS:
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        if user.pw_uid > 0:
            return user
    raise CannotStart("PostgreSQL does not run as root, and there is no other user to run it as")


def _user_namespace_prefix() -> tuple[str, ...]:
    """Return a prefix that runs a command under a user with a name, in a new user namespace."""
    unshare = shutil.which("unshare") or "unshare"
    prefix = (unshare, "--user", f"--map-user={_unprivileged_user().pw_uid}", "--")
    try:
        subprocess.run([*prefix, "true"], check=True, capture_output=True)  # noqa: S603 - our own command
    except (OSError, subprocess.SubprocessError) as error:
        if os.geteuid() == 0:
            reason = "PostgreSQL does not run as root, and root may not change its user here"
        else:
            reason = f"the user id {os.geteuid()} has no name here, and initdb wants one that has"
        raise CannotStart(reason) from error
    return prefix


def _spawn(
    command: list[str], run_as: RunAs, home: Path, log: IO[bytes]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - our own command
        command,
        cwd=home,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        user=run_as.uid,
        group=run_as.gid,
        extra_groups=None if run_as.uid is None else [],
        umask=0o077,
        preexec_fn=_set_parent_death_signal,  # noqa: PLW1509 - this process has one thread
    )


def _environment() -> dict[str, str]:
    # Without our secrets, which another user could read, and PG* variables, which configure it.
    passed_on = {
        name: value
        for name, value in os.environ.items()
        if name == "PATH" or name.startswith(("LD_", "DYLD_", "NSS_WRAPPER_"))
    }
    return {**passed_on, "LC_ALL": "C", "TZ": "UTC"}


def _set_parent_death_signal() -> None:
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGINT)


def _free_shared_memory(pid_file: Path) -> None:
    """Free the few bytes of shared memory that a killed server left."""
    # The seventh line is "key id": https://www.postgresql.org/docs/current/storage-file-layout.html
    lines = pid_file.read_text().splitlines() if pid_file.exists() else []
    if len(lines) > 6 and lines[6].strip():
        ipc_rmid = 0
        ctypes.CDLL(None).shmctl(int(lines[6].split()[1]), ipc_rmid, None)


def _require_usable(folder: Path, run_as: RunAs, spec: ServerSpec) -> PostgresInstall:
    version_text = subprocess.run(  # noqa: S603 - a PostgreSQL found by the parent
        [folder / "postgres", "--version"],
        cwd=spec["home"],
        env=_environment(),
        user=run_as.uid,
        group=run_as.gid,
        extra_groups=None if run_as.uid is None else [],
        capture_output=True,
        check=True,
        text=True,
        timeout=10,
    ).stdout
    match = re.search(r"\d+", version_text)
    version = int(match[0]) if match else 0
    if version < MIN_VERSION:
        raise CannotStart(f"{version_text.strip()} is too old, {MIN_VERSION} is the oldest we take")
    if not (folder / "initdb").exists():
        raise CannotStart("there is no initdb")
    return PostgresInstall(folder, version)


def _copy_bundle(folder: Path, run_as: RunAs, spec: ServerSpec) -> Path:
    """Copy the wheel's programs, with what lies beside them, for the user. Returns the copy."""
    copy = Path(spec["home"]) / "bundle"
    parts = [Path(part) for part in spec["bundle"] if Path(part).exists()]

    def unneeded(inside: str, names: list[str]) -> set[str]:
        if Path(inside) == folder:
            return set(names) - {"postgres", "initdb"}
        others = {part for part in names if part.startswith("pginstall")} - {folder.parent.name}
        return others | {name for name in names if name in {"include", "pgxs"} or name[-2:] == ".a"}

    for part in parts:
        shutil.copytree(part, copy / part.name, ignore=unneeded)
    for path in [copy, *copy.rglob("*")]:
        if run_as.uid is not None and run_as.gid is not None:
            os.chown(path, run_as.uid, run_as.gid)
    return copy / folder.relative_to(parts[0].parent)


def _log_tail(path: Path) -> str:
    if not path.exists():
        return ""
    return "\n".join(path.read_text(errors="replace").splitlines()[-20:])


def _report_to_parent(text: str) -> None:
    try:
        print(text, flush=True)  # noqa: T201 - the parent reads it
    except BrokenPipeError:
        # The parent is gone; the interpreter must not try to write again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
