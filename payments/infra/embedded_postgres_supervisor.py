"""The keeper of an embedded PostgreSQL: one server, for as long as one parent process lives.

`embedded_postgres` runs this file as a script, in a session of its own, so that neither Ctrl-C nor
`kill -9` of the parent leaves a server or a directory behind. Its standard input is the lifeline:
when that ends, so does the server. It needs nothing but the standard library, and starts at once.
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

OLDEST_VERSION = 15
UNPRIVILEGED_USERS = ("postgres", "nobody", "daemon")


class Plan(TypedDict):
    """What the parent asks for."""

    home: str
    parent_pid: int
    bins: list[str]
    bundle: list[str]
    settings: dict[str, str]


class CannotKeep(Exception):
    """This machine does not let us run a PostgreSQL, and why."""


@dataclass(frozen=True)
class Account:
    """Whom the server runs as: ourselves, or, since PostgreSQL refuses root, somebody lesser."""

    uid: int | None = None
    gid: int | None = None
    initdb_prefix: tuple[str, ...] = ()
    server_prefix: tuple[str, ...] = ()


@dataclass(frozen=True)
class Install:
    """Where a PostgreSQL's programs are, and its major version."""

    bin: Path
    version: int


def main(plan: Plan) -> int:
    """Create a database, serve it until the parent is gone, and leave nothing behind."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _end)
    home = Path(plan["home"])
    try:
        account = choose_account()
        if account.uid is not None and account.gid is not None:
            os.chown(home, account.uid, account.gid)
        install = find_install(plan, account)
        with (home / "log").open("ab") as log:
            create_database(install, account, home, log)
            serve(install, account, plan, log)
    except (CannotKeep, OSError, subprocess.SubprocessError) as error:
        _tell_parent(f"{error}\n{_last_lines(home / 'log')}".strip())
        return 1
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        shutil.rmtree(home, ignore_errors=True)
    return 0


def choose_account() -> Account:
    """Ourselves if PostgreSQL accepts us, else an existing unprivileged user."""
    if os.geteuid() != 0:
        try:
            pwd.getpwuid(os.geteuid())
        except KeyError:
            # initdb asks for the name of its user, the server does not.
            return Account(initdb_prefix=_renamed())
        return Account()
    user = _unprivileged_user()
    try:
        subprocess.run(["true"], user=user.pw_uid, group=user.pw_gid, extra_groups=[], check=True)  # noqa: S607 - any `true` will do
    except (OSError, subprocess.SubprocessError):
        # A root that may not change its user, as in some containers.
        return Account(initdb_prefix=_renamed(), server_prefix=_renamed())
    return Account(uid=user.pw_uid, gid=user.pw_gid)


def find_install(plan: Plan, account: Account) -> Install:
    """The first PostgreSQL that this account can run, copied where it can reach it if need be."""
    refusals = []
    for folder in map(Path, plan["bins"]):
        try:
            return _tried(folder, account, plan)
        except (OSError, subprocess.SubprocessError, CannotKeep) as error:
            refusals.append(f"{folder}: {error}")
        if any(folder.is_relative_to(part) for part in plan["bundle"]):
            try:
                return _tried(_copied(folder, account, plan), account, plan)
            except (OSError, subprocess.SubprocessError, CannotKeep) as error:
                refusals.append(f"a copy of it: {error}")
    raise CannotKeep("\n".join(["no PostgreSQL here can be run", *refusals]))


def create_database(install: Install, account: Account, home: Path, log: IO[bytes]) -> None:
    """Run initdb: UTF-8, the same collation everywhere, and no password behind a closed door."""
    options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
    if install.version >= 17:
        options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    command = [*account.initdb_prefix, str(install.bin / "initdb"), f"--pgdata={home / 'data'}"]
    with _started([*command, *options], account, home, log) as initdb:
        try:
            code = initdb.wait(timeout=30)
        finally:
            initdb.kill()
    if code != 0:
        raise CannotKeep(f"initdb ended with {code}")


def serve(install: Install, account: Account, plan: Plan, log: IO[bytes]) -> None:
    """Run the server until the parent lets go, or the server ends by itself."""
    home = Path(plan["home"])
    settings = {**plan["settings"], "unix_socket_directories": str(home)}
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    command = [*account.server_prefix, str(install.bin / "postgres"), "-D", str(home / "data")]
    with _started([*command, *options], account, home, log) as server:
        try:
            wait_for_end(server, plan["parent_pid"])
            code = server.poll()
        finally:
            stop(server)
            _forget_shared_memory(home / "data" / "postmaster.pid")
    if code is not None:
        raise CannotKeep(f"postgres ended with {code}")


def wait_for_end(server: subprocess.Popen[bytes], parent_pid: int) -> None:
    """Return when the server has ended, or the parent has let go of the lifeline or is gone."""
    while server.poll() is None:
        # A forked child of the parent may hold the lifeline open, hence the look at the parent.
        let_go = select.select([sys.stdin], [], [], 0.5)[0]
        if let_go or os.getppid() != parent_pid:
            return


def stop(server: subprocess.Popen[bytes]) -> None:
    """Ask for a fast shutdown, then for an immediate one, then do not ask."""
    for number, patience in ((signal.SIGINT, 10), (signal.SIGQUIT, 5), (signal.SIGKILL, 5)):
        if server.poll() is not None:
            return
        server.send_signal(number)
        try:
            server.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            continue


def _end(*_: object) -> None:
    raise SystemExit(0)


def _unprivileged_user() -> pwd.struct_passwd:
    for name in UNPRIVILEGED_USERS:
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        if user.pw_uid > 0:
            return user
    raise CannotKeep("PostgreSQL does not run as root, and there is no other user to run it as")


def _renamed() -> tuple[str, ...]:
    """A prefix that gives a command a user name, in a user namespace of its own."""
    unshare = shutil.which("unshare") or "unshare"
    prefix = (unshare, "--user", f"--map-user={_unprivileged_user().pw_uid}", "--")
    try:
        subprocess.run([*prefix, "true"], check=True, capture_output=True)  # noqa: S603 - our own command
    except (OSError, subprocess.SubprocessError) as error:
        if os.geteuid() == 0:
            words = "PostgreSQL does not run as root, and root may not change its user here"
        else:
            words = f"the user id {os.geteuid()} has no name here, and initdb wants one that has"
        raise CannotKeep(words) from error
    return prefix


def _started(
    command: list[str], account: Account, home: Path, log: IO[bytes]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - our own command
        command,
        cwd=home,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        user=account.uid,
        group=account.gid,
        extra_groups=None if account.uid is None else [],
        umask=0o077,
        preexec_fn=_end_with_keeper,  # noqa: PLW1509 - this process has one thread
    )


def _environment() -> dict[str, str]:
    # Neither our secrets, which another user could read, nor PG* variables, which would steer it.
    ours = {
        name: value
        for name, value in os.environ.items()
        if name == "PATH" or name.startswith(("LD_", "DYLD_", "NSS_WRAPPER_"))
    }
    return {**ours, "LC_ALL": "C", "TZ": "UTC"}


def _end_with_keeper() -> None:
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGINT)


def _forget_shared_memory(pid_file: Path) -> None:
    """Free the few bytes of shared memory that a killed server could not."""
    # The seventh line is "key id": https://www.postgresql.org/docs/current/storage-file-layout.html
    lines = pid_file.read_text().splitlines() if pid_file.exists() else []
    if len(lines) > 6 and lines[6].strip():
        ipc_rmid = 0
        ctypes.CDLL(None).shmctl(int(lines[6].split()[1]), ipc_rmid, None)


def _tried(folder: Path, account: Account, plan: Plan) -> Install:
    said = subprocess.run(  # noqa: S603 - a PostgreSQL found by the parent
        [folder / "postgres", "--version"],
        cwd=plan["home"],
        env=_environment(),
        user=account.uid,
        group=account.gid,
        extra_groups=None if account.uid is None else [],
        capture_output=True,
        check=True,
        text=True,
        timeout=10,
    ).stdout
    found = re.search(r"\d+", said)
    version = int(found[0]) if found else 0
    if version < OLDEST_VERSION:
        raise CannotKeep(f"{said.strip()} is too old, {OLDEST_VERSION} is the oldest we take")
    if not (folder / "initdb").exists():
        raise CannotKeep("there is no initdb")
    return Install(folder, version)


def _copied(folder: Path, account: Account, plan: Plan) -> Path:
    """The wheel's programs once more, as they lie next to each other, owned by the account."""
    copy = Path(plan["home"]) / "bundle"
    parts = [Path(part) for part in plan["bundle"] if Path(part).exists()]

    def unneeded(inside: str, names: list[str]) -> set[str]:
        if Path(inside) == folder:
            return set(names) - {"postgres", "initdb"}
        others = {part for part in names if part.startswith("pginstall")} - {folder.parent.name}
        return others | {name for name in names if name in {"include", "pgxs"} or name[-2:] == ".a"}

    for part in parts:
        shutil.copytree(part, copy / part.name, ignore=unneeded)
    for path in [copy, *copy.rglob("*")]:
        if account.uid is not None and account.gid is not None:
            os.chown(path, account.uid, account.gid)
    return copy / folder.relative_to(parts[0].parent)


def _last_lines(path: Path) -> str:
    if not path.exists():
        return ""
    return "\n".join(path.read_text(errors="replace").splitlines()[-20:])


def _tell_parent(words: str) -> None:
    try:
        print(words, flush=True)  # noqa: T201 - the parent reads it
    except BrokenPipeError:
        # Nobody is left to be told; the interpreter must not try again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
