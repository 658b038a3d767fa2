"""A page as a browser without JavaScript has it: forms to send, links to follow, words to read.

`faults` says what is wrong with the page itself: tags that do not match, ids used twice, fields
nobody can name.
"""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID_ELEMENTS = frozenset({"br", "hr", "img", "input", "link", "meta", "path"})
ID_REFERENCE_ATTRIBUTES = ("for", "aria-labelledby", "aria-describedby")
# Where we are, and in which language.
OWN_ORIGIN_OR_LANG = re.compile(r"^http://127\.0\.0\.1:8000(?=/)|[?&]lang=\w+$")


@dataclass
class Field:
    """Something that may be filled in."""

    tag: str
    attributes: dict[str, str]
    options: list[tuple[str, bool]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.attributes.get("name", "")

    @property
    def value(self) -> str | None:
        """What would be sent; None for a radio that is not chosen."""
        if self.tag == "select":
            chosen = [value for value, selected in self.options if selected]
            return (chosen or [value for value, _ in self.options])[0]
        ticked = "checked" in self.attributes
        if self.attributes.get("type") in ("radio", "checkbox") and not ticked:
            return None
        return self.attributes.get("value", "")


@dataclass
class Form:
    """A form, filled in as it came."""

    action: str
    method: str
    fields: list[Field] = field(default_factory=list)

    def submission(self, **changes: str) -> dict[str, str]:
        """What pressing its button sends, after these changes to its fields."""
        names = {one.name for one in self.fields}
        assert set(changes) <= names, f"the form has no field {set(changes) - names}"
        sent = {one.name: one.value for one in self.fields if one.value is not None}
        return {**sent, **changes}


@dataclass
class Page(HTMLParser):
    """One page, read once."""

    html: str
    forms: list[Form] = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict)
    cells: list[list[str]] = field(default_factory=list)
    alerts: list[str] = field(default_factory=list)
    attributes: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._open: list[str] = []
        self._words: list[str] = []
        self._link: tuple[str, int] | None = None
        self._cell: int | None = None
        self._alert: tuple[int, int] | None = None
        self.feed(self.html)
        self.close()
        self.problems += [f"<{tag}> is never closed" for tag in self._open]
        self._check_names()

    @property
    def text(self) -> str:
        """All its words, as one line."""
        return " ".join(" ".join(self._words).split())

    @property
    def ids(self) -> list[str]:
        return [found["id"] for _, found in self.attributes if "id" in found]

    def form(self, action: str, method: str = "post") -> Form:
        """Its one form with this address and method; an address of no language is of any."""
        (found,) = (
            form
            for form in self.forms
            if action in (form.action, OWN_ORIGIN_OR_LANG.sub("", form.action))
            and form.method == method
        )
        return found

    def field(self, id_: str) -> dict[str, str]:
        """The attributes of the element with this id."""
        (found,) = (one for _, one in self.attributes if one.get("id") == id_)
        return found

    # -- reading ------------------------------------------------------------------------------

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        if len(named) != len(attrs):
            self.problems.append(f"<{tag}> says one thing twice: {attrs}")
        self.attributes.append((tag, named))
        if tag not in VOID_ELEMENTS:
            self._open.append(tag)
        if tag == "form":
            self.forms.append(Form(named.get("action", ""), named.get("method", "get")))
        elif tag in ("input", "select", "textarea") and self.forms:
            self.forms[-1].fields.append(Field(tag, named))
        elif tag == "option":
            chosen = (named.get("value", ""), "selected" in named)
            self.forms[-1].fields[-1].options.append(chosen)
        elif tag == "a":
            self._link = (named.get("href", ""), len(self._words))
        self._begin_cell(tag)
        if named.get("role") == "alert":
            self._alert = (len(self._open), len(self._words))

    def _begin_cell(self, tag: str) -> None:
        if tag == "tr":
            self.cells.append([])
        elif tag in ("td", "th", "textarea"):
            self._cell = len(self._words)

    def handle_data(self, data: str) -> None:
        self._words.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID_ELEMENTS:
            return
        if self._alert is not None and len(self._open) == self._alert[0]:
            self.alerts.append(self._since(self._alert[1]))
            self._alert = None
        if not self._open or self._open[-1] != tag:
            self.problems.append(f"</{tag}> closes {self._open[-1:]}")
            return
        self._open.pop()
        if tag == "textarea" and self._cell is not None and self.forms:
            held = "".join(self._words[self._cell :])
            self.forms[-1].fields[-1].attributes["value"] = held.removeprefix("\n")
        if tag == "a" and self._link is not None:
            self.links[self._since(self._link[1])] = self._link[0]
        elif tag in ("td", "th") and self._cell is not None:
            self.cells[-1].append(self._since(self._cell))

    def _since(self, position: int) -> str:
        return " ".join("".join(self._words[position:]).split())

    # -- what is wrong ------------------------------------------------------------------------

    def _check_names(self) -> None:
        ids = self.ids
        self.problems += [f"the id {id_} is there {ids.count(id_)} times"
                        for id_ in sorted(set(ids)) if ids.count(id_) > 1]  # fmt: skip
        for tag, named in self.attributes:
            for reference in ID_REFERENCE_ATTRIBUTES:
                for id_ in named.get(reference, "").split():
                    if id_ not in ids:
                        self.problems.append(f"<{tag} {reference}={id_}> points nowhere")
            href = named.get("href", "")
            if tag == "a" and href.startswith("#") and href[1:] not in ids:
                self.problems.append(f"the link {href} points nowhere")
        labelled = {named["for"] for tag, named in self.attributes if tag == "label"}
        for one in (one for form in self.forms for one in form.fields):
            if one.attributes.get("type") != "hidden" and one.attributes.get("id") not in labelled:
                self.problems.append(f"the field {one.name} has no label")
