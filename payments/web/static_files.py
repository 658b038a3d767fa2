"""The style sheets and scripts of our pages."""

from litestar import Response, Router, get
from litestar.exceptions import NotFoundException
from litestar.handlers import BaseRouteHandler
from litestar.static_files import create_static_files_router

from payments.web.csrf import AnyConnection
from payments.web.rendering import WEB_DIR

URL, FOLDER = "/static", WEB_DIR / "static"
FAVICON = (FOLDER / "favicon.ico").read_bytes()
PATHS = frozenset(f"{URL}/{file.name}" for file in FOLDER.iterdir())


async def require_known_path(connection: AnyConnection, _handler: BaseRouteHandler) -> None:
    """Guard: ask the file system for no name that somebody made up. Raises NotFoundException.

    It would fail over some, such as a NUL or 3,000 letters.
    """
    if connection.scope["path"] not in PATHS:
        raise NotFoundException


@get("/favicon.ico", include_in_schema=False, media_type="image/x-icon", sync_to_thread=False)
def favicon() -> Response[bytes]:
    """Return the icon that browsers ask for by themselves. It names nobody, as titles do not."""
    headers = {"cache-control": "public, max-age=86400"}
    return Response(FAVICON, media_type="image/x-icon", headers=headers)


def router() -> Router:
    """Return the route of the files."""
    return create_static_files_router(
        URL, [FOLDER], cache_control=None, include_in_schema=False, guards=[require_known_path]
    )
