"""Words that stood for several things name nothing here; docs/glossary.md has those that do."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = {
    "payments": ("*.py", "*.html", "*.txt", "*.toml", "*.css", "*.js"),
    "webhooks": ("*.py",),
    "migrations": ("*.py",),
    "tests": ("*.py",),
    "docs": ("*.md",),
    ".": ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", ".env.example", "Makefile"),
}
REFUSED = {
    *("promise", "promises", "promised", "bell", "bells", "ring", "rings", "tongue", "tongues"),
    *("wish", "wishes", "wished", "kept", "told", "hush", "hushed", "shred", "shreds", "shredded"),
    *("alarm", "alarms"),
}
WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")  # a part of a name counts: is_kept, KeptError
ELSEWHERE: dict[str, set[str]] = {  # the file -> the words, where they are somebody else's
    "payments/core/ics.py": {"alarm"},  # iCalendar's own
    "payments/web/templates/demo_article.html": {"bell"},  # of a bus stop
    "tests/core/test_imports.py": {"kept"},  # a contract, in the words of import-linter
    "tests/engines/webkit.py": {"promise"},  # JavaScript's
    "tests/support/browser.py": {"promise"},  # JavaScript's
    "tests/test_words.py": REFUSED,
}


def sources() -> Iterator[tuple[str, str]]:
    """Yield the path and the text of each file whose words are ours."""
    for folder, patterns in SOURCES.items():
        for pattern in patterns:
            for path in (ROOT / folder).glob(pattern if folder == "." else f"**/{pattern}"):
                yield path.relative_to(ROOT).as_posix(), path.read_text()


def refused(path: str, text: str) -> list[str]:
    """Return the refused words of a text, each with its line."""
    words = REFUSED - ELSEWHERE.get(path, set())
    return [
        f"{path}:{number}: {word}"
        for number, line in enumerate(text.splitlines(), 1)
        for word in WORD.findall(line)
        if word.lower() in words
    ]


def test_no_source_and_no_document_uses_a_refused_word() -> None:
    found = [line for path, text in sources() for line in refused(path, text)]
    assert found == [], "say it in the words of docs/glossary.md"


@pytest.mark.parametrize("name", ["is_kept_error", "KEPT_NAMES", "TheAlarm", "a Promise", "told"])
def test_a_refused_word_is_found_in_a_name(name: str) -> None:
    assert len(refused("payments/x.py", f"x\n{name} = 1")) == 1


@pytest.mark.parametrize("name", ["string", "RECURRING", "card_expiring", "Ringside"])
def test_a_word_that_only_holds_one_is_none(name: str) -> None:
    assert refused("payments/x.py", name) == []
