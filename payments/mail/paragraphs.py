"""Paragraphs of a mail: a text, a link with its label, or facts, each a name and a value."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

PARAGRAPH_BREAK = re.compile(r"\n\s*\n")
FACT_MARK = "|"  # a line `| name | value` of a template


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A text; with an address, a link and its label; or facts."""

    text: str
    url: str | None = None
    facts: tuple[tuple[str, str], ...] = ()

    @property
    def label(self) -> str:
        """The text as a link shows it in HTML: without its colon and the space before it."""
        return self.text.rstrip(":\N{NO-BREAK SPACE}")


def parse(source: str) -> list[Paragraph]:
    """Return the paragraphs of a rendered template."""
    return [_parse_one(part) for part in PARAGRAPH_BREAK.split(source.strip())]


def _parse_one(source: str) -> Paragraph:
    lines = [line.strip() for line in source.splitlines()]
    if all(line.startswith(FACT_MARK) for line in lines):
        return Paragraph("", facts=tuple(_parse_fact(line) for line in lines))
    *label, last = lines
    if re.match("https?://", last):
        return Paragraph(" ".join(label), last)
    return Paragraph(" ".join(lines))


def _parse_fact(line: str) -> tuple[str, str]:
    name, _, value = line.removeprefix(FACT_MARK).partition(FACT_MARK)
    return name.strip(), value.strip()


def as_text(paragraphs: Sequence[Paragraph]) -> str:
    """Return paragraphs as plain text."""
    return "\n\n".join(map(_one_as_text, paragraphs)) + "\n"


def _one_as_text(paragraph: Paragraph) -> str:
    if paragraph.facts:
        return "\n".join(f"{name}: {value}" for name, value in paragraph.facts)
    return f"{paragraph.text}\n{paragraph.url}" if paragraph.url else paragraph.text
