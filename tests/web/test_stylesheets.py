"""In the dark nothing but colours differs: whatever else is looked at in the light is so there."""

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
