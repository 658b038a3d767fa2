"""What a campaign says, as its author writes it: paragraphs with emphasis and links, and no HTML.

    Dear readers,

    A blank line begins a paragraph, a line end is a line end. *Emphasis*, **strong emphasis** and
    [a link](https://example.org/why).

It is parsed into parts that can hold nothing else, and only those are printed: text that looks like
HTML is text, and a link goes to http or https. What is no markup stands as it was written, so a
price list with asterisks needs no escaping.
"""

import re
import unicodedata
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from markupsafe import Markup, escape

MAX_LINK_LENGTH = 500
BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
REFUSED_CATEGORIES = frozenset({"Cc", "Cn", "Co", "Cs", "Zl", "Zp"})
_PARTS = re.compile(
    r"\[(?P<label>[^\[\]\n]+)\]\((?P<url>[^()\n]*)\)"
    r"|\*\*(?P<strong>(?=\S)[^*\n]+(?<=\S))\*\*"
    r"|\*(?P<em>(?=\S)[^*\n]+(?<=\S))\*"
    r"|(?P<br>\n)"
)
_PARAGRAPH_END = re.compile(r"\n[ \t]*\n\s*")


class InvalidMarkup(ValueError):
    """A text that no reader can be shown. Its message says what is wrong."""


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a paragraph: a plain text, an emphasised one, a link or a line end."""

    text: str
    tag: Literal["", "em", "strong", "a", "br"] = ""
    url: str = ""


Paragraph = tuple[Part, ...]


def normalise(text: str) -> str:
    """Return a text with one kind of line end and nothing around it."""
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", " ").strip()


def refuse_controls(text: str, *, line_ends: bool) -> None:
    """Raise InvalidMarkup for characters that are not text, or turn the direction of others."""
    for character in text:
        if character == "\n" and line_ends:
            continue
        if unicodedata.category(character) in REFUSED_CATEGORIES or character in BIDI_CONTROLS:
            expected = "text" if line_ends else "plain text on one line"
            raise InvalidMarkup(f"is {expected}; it has U+{ord(character):04X}")


def parse(text: str) -> tuple[Paragraph, ...]:
    """Return the paragraphs of a text. Raises InvalidMarkup."""
    text = normalise(text)
    refuse_controls(text, line_ends=True)
    return tuple(
        tuple(_parts(paragraph)) for paragraph in _PARAGRAPH_END.split(text) if paragraph.strip()
    )


def _parts(paragraph: str) -> list[Part]:
    found: list[Part] = []
    end = 0
    for match in _PARTS.finditer(paragraph):
        if match.start() > end:
            found.append(Part(paragraph[end : match.start()]))
        end = match.end()
        if match["br"]:
            found.append(Part("", "br"))
        elif match["label"] is not None:
            found.append(Part(match["label"], "a", _link(match["url"].strip())))
        elif match["strong"] is not None:
            found.append(Part(match["strong"], "strong"))
        else:
            found.append(Part(match["em"], "em"))
    if end < len(paragraph):
        found.append(Part(paragraph[end:]))
    return found


def _link(url: str) -> str:
    """Return the address of a link. Raises InvalidMarkup."""
    try:
        parts = urlsplit(url)
        is_web = parts.scheme in ("http", "https") and bool(parts.hostname)
        is_plain = parts.username is None and parts.password is None
    except ValueError:
        is_web = is_plain = False
    if not (is_web and is_plain) or not re.fullmatch(r"[!#-;=?-~]+", url):
        raise InvalidMarkup(
            f"a link goes to http:// or https:// and has no spaces or quotes; here “{url[:40]}”"
        )
    if len(url) > MAX_LINK_LENGTH:
        raise InvalidMarkup(f"a link has at most {MAX_LINK_LENGTH} characters; here {len(url)}")
    return url


# --- printing -------------------------------------------------------------------------------------


def to_html(paragraphs: tuple[Paragraph, ...]) -> Markup:
    """Return paragraphs as HTML."""
    return Markup("").join(
        Markup("<p>{}</p>").format(Markup("").join(_part_html(part) for part in paragraph))
        for paragraph in paragraphs
    )


def _part_html(part: Part) -> Markup:
    match part.tag:
        case "em":
            return Markup("<em>{}</em>").format(part.text)
        case "strong":
            return Markup("<strong>{}</strong>").format(part.text)
        case "a":
            return Markup('<a href="{}" rel="noreferrer">{}</a>').format(part.url, part.text)
        case "br":
            return Markup("<br>")
        case _:
            return escape(part.text)


def to_nodes(paragraphs: tuple[Paragraph, ...]) -> list[list[Any]]:
    """Return paragraphs as the widget's script builds them: `["p", {}, "a", ["em", {}, "b"]]`."""
    return [["p", {}, *(_part_node(part) for part in paragraph)] for paragraph in paragraphs]


def _part_node(part: Part) -> str | list[Any]:
    match part.tag:
        case "":
            return part.text
        case "a":
            return ["a", {"href": part.url, "rel": "noreferrer"}, part.text]
        case "br":
            return ["br", {}]
        case tag:
            return [tag, {}, part.text]
