"""Pages of a donor's own lists: so many lines each, and links to the newer and the older ones."""

from collections.abc import Sized
from dataclasses import dataclass

from payments.core.errors import NotFound
from payments.web.forms import AnyRequest

PAGE_SIZE = 200
MAX_PAGE_DIGITS = 6


@dataclass(frozen=True, slots=True)
class PageLinks:
    """Addresses of the pages beside this one; empty where there is none."""

    newer_url: str
    older_url: str


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list, the newest lines first. Its number begins at 1."""

    number: int

    @property
    def offset(self) -> int:
        """How many lines come before it."""
        return (self.number - 1) * PAGE_SIZE

    def links(self, path: str, found: Sized) -> PageLinks:
        """Return the links of a page for which one line more than its size was asked for."""
        newer_url = path if self.number == 2 else f"{path}?page={self.number - 1}"
        return PageLinks(
            newer_url=newer_url if self.number > 1 else "",
            older_url=f"{path}?page={self.number + 1}" if len(found) > PAGE_SIZE else "",
        )


def page_of(request: AnyRequest) -> Page:
    """Return the page that a request asks for, the first if it names none. Raises NotFound."""
    text = request.query_params.get("page", "1")
    is_number = text.isascii() and text.isdecimal() and len(text) <= MAX_PAGE_DIGITS
    if not is_number or int(text) < 1:
        raise NotFound("There is no such page.")
    return Page(int(text))
