"""What an application serves, read from itself."""

from litestar import Litestar

from tests.support.newsroom import Newsroom


def routes_of(app: Litestar) -> set[str]:
    """Every method of every path, as `GET /manage/data`."""
    return {
        f"{method} {route.path_format}"
        for route in app.routes
        for method in getattr(route, "methods", ())
        if method != "OPTIONS"
    }


def app_of(room: Newsroom) -> Litestar:
    """The application that a newsroom serves."""
    app: Litestar = room.web._transport.app  # type: ignore[attr-defined]  # httpx's ASGI transport
    return app
