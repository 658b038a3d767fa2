"""What the commands share: files that are whole or not there, and progress on stderr."""

import io
from contextlib import redirect_stderr
from pathlib import Path

import pytest

from payments.cli import common


class Terminal(io.StringIO):
    """A stderr somebody looks at."""

    def isatty(self) -> bool:
        return True


def test_a_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "ledger.csv"
    path.write_text("what was there")

    def write(*, fails: bool) -> None:
        with common.output_file(path) as out:
            out.write(b"half")
            assert path.read_text() == "what was there"
            if fails:
                raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        write(fails=True)
    assert [file.name for file in tmp_path.iterdir()] == ["ledger.csv"]
    assert path.read_text() == "what was there"
    (tmp_path / ".ledger.csv.part").symlink_to(tmp_path / "of somebody else")  # set by a neighbour
    write(fails=False)
    assert [file.name for file in tmp_path.iterdir()] == ["ledger.csv"]
    assert path.read_text() == "half"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_bar_ends_where_the_work_ended() -> None:
    stderr = Terminal()
    with redirect_stderr(stderr), common.progress_of(40, "Rows") as advance:
        for _ in range(30):
            advance(1)
    assert "Rows" in stderr.getvalue()
    assert " 75%" in stderr.getvalue()
    assert "100%" not in stderr.getvalue()


def test_where_nobody_looks_there_is_no_bar() -> None:
    stderr = io.StringIO()
    with redirect_stderr(stderr), common.progress("Subscriptions") as report:
        report(1, 2)
        report(2, 2)
    assert stderr.getvalue() == "Subscriptions\n"
