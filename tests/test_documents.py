"""What the documents name exists: paths, commands, make targets, settings."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from payments.cli import main
from payments.core import settings
from payments.core.settings import Settings

ROOT = Path(__file__).parents[1]
DOCUMENTS = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for pattern in (".env.example", "*.md", "docs/**/*.md")
    for path in sorted(ROOT.glob(pattern))
}
# Where a path in a document may begin, besides at the top.
STARTS = ("", "payments/", "docs/", "tests/")
SUFFIXES = "py|md|txt|toml|html|js|po|css|sql|example|lock"
PATH = re.compile(rf"[\w.-]+(?:/[\w.*<>-]+)*(?:/|\.(?:{SUFFIXES}))")
QUOTED = re.compile(r"`([^`\n]+)`")
AWAITED: set[str] = set()
# Paths of a newsroom's own machine, or addresses of ours.
NOT_OURS = re.compile(r"/|https?:|~|security\.txt$|\.well-known|data\.toml")


def quoted_paths(text: str) -> Iterator[str]:
    """Yield each back-quoted path, and each file that a link leads to."""
    for quoted in QUOTED.findall(text):
        if PATH.fullmatch(quoted) and not NOT_OURS.match(quoted):
            yield quoted
    yield from re.findall(rf"\]\(([\w./-]+\.(?:{SUFFIXES})|[\w./-]+/)\)", text)


def exists(path: str, document: str) -> bool:
    """Whether a path is in this repository. `<name>` stands for any."""
    pattern = re.sub(r"<\w+>", "*", path)
    beside = Path(document).parent.as_posix() + "/"
    return any(
        any(ROOT.glob(f"{start}{pattern}".removeprefix("./"))) for start in (*STARTS, beside)
    )


def commands(text: str) -> Iterator[list[str]]:
    """Yield each `payments …` of a text as words, in back-quotes or behind a prompt."""
    for quoted in (*QUOTED.findall(text), *re.findall(r"^\$ (.+)$", text, re.MULTILINE)):
        if quoted.startswith("payments "):
            yield re.split(r"\s+#|\s+--|\s+[A-Z<…]", quoted)[0].split()[1:]


def unknown(words: list[str]) -> bool:
    """Whether words are no command of ours. An argument in the end is none of its words."""
    command: click.Command = main
    for word in words:
        if not isinstance(command, click.Group):
            return False
        found = [command.commands.get(one) for one in word.split("|")]
        if not all(found):
            return True
        (command, *_) = [one for one in found if one is not None]
    return False


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_path_in_a_document_exists(document: str) -> None:
    found = set(quoted_paths(DOCUMENTS[document])) - AWAITED
    assert [path for path in sorted(found) if not exists(path, document)] == []


def test_every_command_in_a_document_exists() -> None:
    found = [(name, words) for name, text in DOCUMENTS.items() for words in commands(text)]
    assert len(found) > 30
    assert [(name, words) for name, words in found if unknown(words)] == []


def test_every_make_target_in_a_document_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^(\w+):", makefile, re.MULTILINE))
    named = {
        target
        for text in DOCUMENTS.values()
        for target in re.findall(r"(?:`|^\$ )make (\w+)", text, re.MULTILINE)
    }
    assert named >= {"test", "check", "demo"}
    assert named <= targets


def test_every_setting_in_a_document_exists() -> None:
    known = {f"PAYMENTS_{name.upper()}" for name in Settings.model_fields}
    known |= {f"PAYMENTS_{name.upper()}_FILE" for name in settings.SECRET_SETTINGS}
    named = {
        (document, name)
        for document, text in DOCUMENTS.items()
        for name in re.findall(r"PAYMENTS_[A-Z_]*[A-Z]", text)
    }
    assert {document for document, _ in named} >= {".env.example", "docs/settings.md"}
    assert [one for one in sorted(named) if one[1] not in known | {"PAYMENTS_OIDC"}] == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("see `payments/policy.py`", "payments/policy.py"),
        ("see [here](docs/none.md)", "docs/none.md"),
        ("see `core/money.py` and `migrations/versions/0001_baseline.py`", None),
        ("a `word`, `/etc/payments/x.toml` and `a/b`", None),
    ],
)
def test_a_path_that_is_missing_is_found(text: str, problem: str | None) -> None:
    missing = [path for path in quoted_paths(text) if not exists(path, "README.md")]
    assert missing == ([] if problem is None else [problem])


@pytest.mark.parametrize(
    ("text", "is_unknown"),
    [
        ("`payments period close 2026-10`", False),
        ("`payments export transactions|payouts`", False),
        ("`payments export ledger`", True),
        ("`payments export transactions|ledger`", True),
        ("$ payments verify", True),
        ("$ payments doctor    # checks", False),
    ],
)
def test_a_command_that_is_missing_is_found(text: str, *, is_unknown: bool) -> None:
    ((words),) = commands(text)
    assert unknown(words) is is_unknown
