"""Whoever has a pack checks it years later: alone, with nothing else, and is not deceived."""

import hashlib
import re
import runpy
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from payments.accounting import pack_verification
from payments.cli import main
from tests.support.packs import (
    PUBLIC_KEY,
    STRANGER,
    TAMPERINGS,
    archived,
    files_of,
    find_problems,
    random_edits,
    signed_by_a_stranger,
    zipped_by_python,
)


def test_packs_follow_one_another_in_whatever_order_they_are_given(
    packs: list[bytes],
) -> None:
    first, second, third = packs
    assert find_problems(third, first, second) == []
    assert find_problems(first, first)[0].endswith("it is given twice")
    checked = [pack_verification.check_pack(pack) for pack in (third, first, second)]
    said = [check.description for check in pack_verification.check_chain(checked)]
    assert said[:2] == [
        "pack 2 of 2026-11 follows pack 1 of 2026-11",
        "pack 3 of 2026-12 follows pack 2 of 2026-11",
    ]
    undone = "reopened 2026-12-01T08:00:00Z by Ada: A fee was missing"
    assert said[2] == f"pack 1 of 2026-11 is undone, says pack 2 of 2026-11: {undone}"
    assert find_problems(third, second) == []
    gap = "pack 3 of 2026-12 follows pack 1 of 2026-11: it names another pack before it"
    assert find_problems(third, first)[0].startswith(gap)
    # a pack before it that somebody made anew, its rows as they were or not, by this key or his
    forged = signed_by_a_stranger(files_of(second), month="2026-10")
    assert any("it names another pack" in one for one in find_problems(third, forged))
    files = files_of(third)
    manifest = hashlib.sha256(files_of(forged)["manifest.json"]).hexdigest()
    after = signed_by_a_stranger(files, previous_manifest=manifest)
    assert find_problems(after, forged) == []  # a chain of a stranger's, which a key refuses
    assert find_problems(after, forged, keys=(PUBLIC_KEY,)) != []
    other_rows = signed_by_a_stranger(
        files, previous_manifest=hashlib.sha256(files_of(second)["manifest.json"]).hexdigest()
    )
    assert any("signed by two keys" in one for one in find_problems(second, other_rows))
    stranger = STRANGER.public_key().public_bytes_raw().hex()
    assert find_problems(second, other_rows, keys=(PUBLIC_KEY, stranger)) == []
    assert any(
        "there are rows before it" in one
        for one in find_problems(signed_by_a_stranger(files, previous_manifest=None))
    )


@pytest.mark.parametrize("kind", TAMPERINGS)
def test_a_pack_somebody_changed_is_found_out(packs: list[bytes], kind: str) -> None:
    changed = TAMPERINGS[kind](packs[0])
    assert changed != packs[0]
    assert find_problems(changed, keys=(PUBLIC_KEY,)) != []
    if kind != "a stranger's":
        assert find_problems(changed) != []


def test_a_pack_is_the_archive_that_any_program_would_make(packs: list[bytes]) -> None:
    for pack in packs:
        assert find_problems(pack) == find_problems(pack, keys=(PUBLIC_KEY,)) == []
        assert zipped_by_python(pack) == archived(files_of(pack)) == pack


def test_no_pack_of_a_few_hundred_that_were_changed_at_random_is_accepted(
    packs: list[bytes],
) -> None:
    for changed in random_edits(packs[1], packs, 400, seed=1):
        assert find_problems(changed, keys=(PUBLIC_KEY,)) != []


def test_what_a_stranger_signed_is_read_without_a_crash(packs: list[bytes]) -> None:
    """Each file as it cannot be: whoever signs it himself is answered in words, too."""
    files = files_of(packs[0])
    for name, broken in (
        ("transactions.csv", b"a,b\n1,2\n"),
        ("journal.csv", b"debit,credit,currency\nsNaN,x,usd\n"),
        ("entries.csv", b"\xff\xfe"),
        ("entries.csv", files["entries.csv"] + b"1,2\n"),
        ("entries.csv", files["entries.csv"].replace(b"stripe:balance", b"stripe|balance")),
        ("corrections.csv", b"seq\n" + b"9" * 5000 + b"\n"),
        ("corrections.csv", b'"' + b"a" * 3_000_000),
        ("corrections.csv", b"seq\n"),
    ):
        problems = find_problems(signed_by_a_stranger(files | {name: broken}))
        assert len(problems) in {1, 2}, (name, broken[:20], problems)


def test_the_command_says_in_words_what_is_no_pack(packs: list[bytes], tmp_path: Path) -> None:
    run = CliRunner()
    names = ("first", "second", "third")
    for name, pack in zip(names, packs, strict=True):
        (tmp_path / name).write_bytes(pack)
    first, second, third = (str(tmp_path / name) for name in names)
    for arguments in ([third, first, second], [second, "--previous", first], [first]):
        done = run.invoke(main, ["period", "verify", *arguments, "--key", PUBLIC_KEY.upper()])
        assert (done.exit_code, "PROBLEM" in done.output) == (0, False)
    assert "Without --key" in run.invoke(main, ["period", "verify", first]).output
    bomb = tmp_path / "bomb"
    bomb.write_bytes(archived(files_of(packs[0]) | {"journal.csv": bytes(30_000_000)}))
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.truncate(3 * 1024**3)
    for kind in ("nothing is left", "not a zip", "half of it", "zip64", "a stranger's"):
        (tmp_path / "changed").write_bytes(TAMPERINGS[kind](packs[0]))
        _is_refused(run, [str(tmp_path / "changed"), "--key", PUBLIC_KEY])
    for arguments in ([str(bomb)], [str(huge)], [first, third], [third, "--previous", third],
                      [second, "--previous", third]):  # fmt: skip
        _is_refused(run, arguments)
    _is_refused(run, [first, "--key", STRANGER.public_key().public_bytes_raw().hex()])
    for arguments in ([first, "--key", "00"], [first, "--key", ""], [], [str(tmp_path)],
                      [str(tmp_path / "none")], [first, "--previous", str(tmp_path)]):  # fmt: skip
        wrong = run.invoke(main, ["period", "verify", *arguments])
        assert (wrong.exit_code, type(wrong.exception)) == (2, SystemExit)


def _is_refused(run: CliRunner, arguments: list[str]) -> None:
    refused = run.invoke(main, ["period", "verify", *arguments])
    assert (refused.exit_code, type(refused.exception)) == (4, SystemExit), refused.output
    assert "PROBLEM" in refused.output


def test_the_program_in_the_documents_finds_out_the_same(
    packs: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "packs.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(program.splitlines()) <= 60
    imported = re.findall(r"^(?:import|from) (.+?)(?: import.*)?$", program, re.MULTILINE)
    assert not any(name.startswith(("payments", "cryptography")) for name in imported)
    script = tmp_path / "verify.py"
    script.write_text(program)

    def verify(*given: bytes, key: str = PUBLIC_KEY) -> int:
        names = [str(tmp_path / f"{number}.zip") for number in range(len(given))]
        for name, pack in zip(names, given, strict=True):
            Path(name).write_bytes(pack)
        monkeypatch.setattr(sys, "argv", [str(script), key, *names])
        try:
            runpy.run_path(str(script))
        except SystemExit as exit_:
            return int(str(exit_.code))
        return 0

    assert verify(*packs) == 0
    assert verify(packs[0], packs[2]) == 4
    assert verify(packs[0], key=STRANGER.public_key().public_bytes_raw().hex()) == 4
    for kind, tamper in TAMPERINGS.items():
        assert verify(tamper(packs[0])) == 4, kind
    for changed in random_edits(packs[1], packs, 100, seed=2):
        assert verify(changed) == 4
