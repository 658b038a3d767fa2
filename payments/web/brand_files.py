"""The brand's own files, from the settings: its colours as a style sheet, and its logo.

Each is named by its hash, from our own origin. They name the newsroom, and a browser that keeps
them tells of a visit: with a donor safety policy it is asked to keep neither.
"""

import functools
import hashlib
from dataclasses import dataclass

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.exceptions import NotFoundException
from litestar.params import FromPath

from payments.core import brand_colors
from payments.core.settings import Settings
from payments.infra.context import Context

URL = "/brand"
NAME_LENGTH = 16  # hexadecimal digits of the hash
CACHE_CONTROL = "private, max-age=31536000, immutable"
WORDMARK_RATIO = 2  # as wide as that for its height, a logo is taken for the name
LOGO_STYLE = """\
.name img {
  inline-size: auto; block-size: 2.5rem; max-inline-size: min(16rem, 60vw); object-fit: contain;
  vertical-align: middle; margin-inline-end: .6rem;
}
@media (prefers-color-scheme: dark) {
  .name img { background: #fff; padding: .25rem .4rem; border-radius: 3px; }
}
@media (forced-colors: active) {
  .name img { forced-color-adjust: none; background: #fff; padding: .25rem .4rem; }
}
"""


@dataclass(frozen=True, slots=True)
class Logo:
    """The logo's address, its size in pixels, and whether it stands in place of the name."""

    url: str
    width: int
    height: int

    @property
    def is_wordmark(self) -> bool:
        """Whether it is so wide that it says the name itself."""
        return self.width >= WORDMARK_RATIO * self.height


@dataclass(frozen=True, slots=True)
class BrandFiles:
    """The files by their names, and what a page needs of them. None where there is nothing."""

    by_name: dict[str, tuple[str, bytes]]  # the media type and the bytes
    sheet_url: str | None
    logo: Logo | None


@get("/brand/{file_name:str}", include_in_schema=False, sync_to_thread=False)
def serve_brand_file(ctx: NamedDependency[Context], file_name: FromPath[str]) -> Response[bytes]:
    """Return the style sheet or the logo of the brand. Raises NotFoundException."""
    found = files_of(ctx.settings).by_name.get(file_name)
    if found is None:
        raise NotFoundException
    media_type, body = found
    cache_control = "no-store" if ctx.settings.safety_policy else CACHE_CONTROL
    return Response(body, media_type=media_type, headers={"cache-control": cache_control})


def files_of(settings: Settings) -> BrandFiles:
    """Return the files of the settings' brand."""
    colors = (settings.brand_color, settings.dark_color) if settings.has_own_colors else None
    return _files(colors, settings.brand_logo_png)


@functools.lru_cache(maxsize=8)
def _files(colors: tuple[str, str] | None, png: bytes | None) -> BrandFiles:
    by_name = {}
    sheet_url = logo = None
    if colors or png:
        text = (_color_style(*colors) if colors else "") + (LOGO_STYLE if png else "")
        name = f"{_hash(text.encode())}.css"
        by_name[name] = ("text/css", text.encode())
        sheet_url = f"{URL}/{name}"
    if png:
        name = f"{_hash(png)}.png"
        by_name[name] = ("image/png", png)
        # https://www.w3.org/TR/png-3/#11IHDR: the first chunk, its sizes at bytes 16 and 20
        width, height = (int.from_bytes(png[at : at + 4]) for at in (16, 20))
        logo = Logo(f"{URL}/{name}", width, height)
    return BrandFiles(by_name, sheet_url, logo)


def _color_style(color: str, dark_color: str) -> str:
    """Return the colours of the screen; on paper the style sheet of all pages has its own."""
    light, dark = brand_colors.light(color), brand_colors.dark(dark_color)
    return (
        f"@media screen {{ :root {{ {light.as_text()} }} }}\n"
        f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {dark.as_text()} }} }}\n"
    )


def _hash(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()[:NAME_LENGTH]
