"""The table of security requirements is whole, and what it names is there."""

import re
from collections import Counter
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Section, then the numbers of level 1 / of level 2: OWASP ASVS 5.0.0.
REQUIREMENTS = """
1.1: - / 1 2
1.2: 1 2 3 4 5 / 6 7 8 9
1.3: 1 2 / 3 4 5 6 7 8 9 10 11
1.4: - / 1 2 3
1.5: 1 / 2
2.1: 1 / 2 3
2.2: 1 2 / 3
2.3: 1 / 2 3 4
2.4: - / 1
3.2: 1 2 / -
3.3: 1 / 2 3 4
3.4: 1 2 / 3 4 5 6
3.5: 1 2 3 / 4 5
3.7: - / 1 2
4.1: 1 / 2 3
4.2: - / 1
4.3: - / 1 2
4.4: 1 / 2 3 4
5.1: - / 1
5.2: 1 2 / 3
5.3: 1 2 / -
5.4: - / 1 2 3
6.1: 1 / 2 3
6.2: 1 2 3 4 5 6 7 8 / 9 10 11 12
6.3: 1 2 / 3 4
6.4: 1 2 / 3 4
6.5: - / 1 2 3 4 5
6.6: - / 1 2 3
6.8: - / 1 2 3 4
7.1: - / 1 2 3
7.2: 1 2 3 4 / -
7.3: - / 1 2
7.4: 1 2 / 3 4 5
7.5: - / 1 2
7.6: - / 1 2
8.1: 1 / 2
8.2: 1 2 / 3
8.3: 1 / -
8.4: - / 1
9.1: 1 2 3 / -
9.2: 1 / 2 3 4
10.1: - / 1 2
10.2: - / 1 2
10.3: - / 1 2 3 4
10.4: 1 2 3 4 5 / 6 7 8 9 10 11
10.5: - / 1 2 3 4 5
10.6: - / 1 2
10.7: - / 1 2 3
11.1: - / 1 2
11.2: - / 1 2 3
11.3: 1 2 / 3
11.4: 1 / 2 3 4
11.5: - / 1
11.6: - / 1
12.1: 1 / 2 3
12.2: 1 2 / -
12.3: - / 1 2 3 4
13.1: - / 1
13.2: - / 1 2 3 4 5
13.3: - / 1 2
13.4: 1 / 2 3 4 5
14.1: - / 1 2
14.2: 1 / 2 3 4
14.3: 1 / 2 3
15.1: 1 / 2 3
15.2: 1 / 2 3
15.3: 1 / 2 3 4 5 6 7
16.1: - / 1
16.2: - / 1 2 3 4 5
16.3: - / 1 2 3 4
16.4: - / 1 2 3
16.5: - / 1 2 3
17.1: - / 1
17.2: - / 1 2 3 4
17.3: - / 1 2
"""
VERDICTS = {"holds", "part", "open", "operator", "n/a"}
TEST_ID = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
PATH = re.compile(
    r"`((?:payments|tests|deploy|docs|webhooks|\.ci)/[\w./-]+|[A-Za-z.]+\.(?:md|toml|lock))`"
)


def required() -> dict[str, str]:
    """The level of each requirement, by its number, in order."""
    levels: dict[str, str] = {}
    for line in REQUIREMENTS.split("\n"):
        section, _, numbers = line.partition(": ")
        found = {
            number: level
            for level, part in enumerate(numbers.split(" / "), start=1)
            for number in part.split()
            if number != "-"
        }
        levels |= {f"{section}.{one}": str(found[one]) for one in sorted(found, key=int)}
    return levels


def rows() -> list[list[str]]:
    """The cells of each line of the table."""
    text = (ROOT / "docs" / "security.md").read_text().partition("\n## Requirements\n")[2]
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in text.splitlines()
        if re.match(r"\| \d", line)
    ]


@cache
def functions_in(path: str) -> set[str]:
    file = ROOT / path
    return (
        set(re.findall(r"^(?:async )?def (\w+)", file.read_text(), re.MULTILINE))
        if file.exists()
        else set()
    )


def missing(evidence: str) -> list[str]:
    """What of a line's evidence is not there."""
    gone = [
        f"{path}::{name}"
        for path, name in TEST_ID.findall(evidence)
        if name not in functions_in(path)
    ]
    return gone + [path for path in PATH.findall(evidence) if not (ROOT / path).exists()]


def test_every_requirement_of_both_levels_has_one_line() -> None:
    assert len(required()) == 253
    assert Counter(required().values()) == {"1": 70, "2": 183}
    assert [(number, level) for number, level, *_ in rows()] == list(required().items())


def test_every_line_says_what_is_asked_what_is_true_and_what_shows_it() -> None:
    headings = set(
        re.findall("^## (.+)$", (ROOT / "docs" / "security.md").read_text(), re.MULTILINE)
    )
    for number, _level, asked, verdict, shown in rows():
        assert asked, number
        assert verdict in VERDICTS, number
        assert missing(shown) == [], number
        assert shown.count("::") == len(TEST_ID.findall(shown)), number
        assert set(re.findall(r'"([A-Z][\w ]+)" below', shown)) <= headings, number
        if verdict == "holds":
            assert re.search("`| below", shown), number
        if verdict in ("part", "open"):
            assert "Needed: " in shown, number
        if verdict == "n/a":
            assert len(shown) > 3, number


def test_what_is_not_there_is_found() -> None:
    assert missing("`tests/test_security_document.py::test_nothing`") != []
    assert missing("`tests/none.py::test_nothing`") != []
    assert missing("`payments/none.py`") == ["payments/none.py"]
    assert missing("`tests/test_security_document.py::test_what_is_not_there_is_found`") == []
