"""In the dark nothing but colours differs: whatever else is looked at in the light is so there.

Nor do a language, a direction or a width of ours decide a colour of text, but for the sheet of the
form on a wide screen: whoever has looked at the colours of one has looked at those of all.
"""

import re

import pytest

from payments.web.static_files import FOLDER

SHEETS = sorted([*FOLDER.glob("*.css"), *FOLDER.glob("*.js")])
DARK = re.compile(r"@media \(prefers-color-scheme: dark\) \{\s*:root \{([^{}]*)\}\s*\}")
COLOUR = re.compile(r"--[a-z0-9-]+: *(#[0-9a-f]{3,6}|\d+ \d+ \d+)")


def differences(sheet: str) -> list[str]:
    """What a sheet declares for the dark, of which all is to be a colour."""
    blocks = DARK.findall(sheet)
    assert len(blocks) == sheet.count("prefers-color-scheme")
    return [one.strip() for block in blocks for one in block.split(";") if one.strip()]


def test_in_the_dark_nothing_but_colours_differs() -> None:
    found = [one for file in SHEETS for one in differences(file.read_text())]
    assert len(found) > 20
    assert [one for one in found if not COLOUR.fullmatch(one)] == []


@pytest.mark.parametrize(
    "more", [":root { --ink: none; }", ":root { display: none; }", "body { --ink: #fff; }"]
)
def test_what_is_more_than_a_colour_is_noticed(more: str) -> None:
    sheet = f"@media (prefers-color-scheme: dark) {{ {more} }}"
    with pytest.raises(AssertionError):
        assert [one for one in differences(sheet) if not COLOUR.fullmatch(one)] == []


WIDTHS = re.compile(r"@media \((?:min|max)-width[^{]*\{((?:[^{}]*\{[^{}]*\})*)\s*\}")
PAINTS = re.compile(r"([^{}]*)\{[^{}]*\b(?:color|background[a-z-]*|opacity|filter) *:[^{}]*\}")


def decided_elsewhere(sheet: str) -> list[str]:
    """The selectors that ask for a language or direction, or whose colours ask for a width."""
    asking = re.findall(r"[^{};]*(?::lang\(|:dir\(|\[lang|\[dir)[^{};]*(?=\{)", sheet)
    widths = WIDTHS.findall(sheet)
    assert len(widths) == len(re.findall("(?:min|max)-width[^;{}]*\\{", sheet))
    return [one.strip() for one in asking + [s for block in widths for s in PAINTS.findall(block)]]


def test_no_language_direction_or_width_decides_a_colour_but_that_of_the_sheet() -> None:
    sheets = [file.read_text() for file in FOLDER.glob("*.css")]
    assert [one for sheet in sheets for one in decided_elsewhere(sheet)] == [".give > form"]


@pytest.mark.parametrize(
    "more",
    [
        ":root:lang(ru) { color: red; }",
        "[dir=rtl] p { color: red; }",
        "@media (max-width: 3em) { p { margin: 0; } p { background: red; } }",
    ],
)
def test_a_colour_that_is_decided_elsewhere_is_noticed(more: str) -> None:
    assert decided_elsewhere(more) != []
