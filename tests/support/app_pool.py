"""Applications for tests, used again: to build one takes a fifth of a second of CPU."""

from collections.abc import Iterator
from contextlib import contextmanager

from litestar import Litestar
from litestar.datastructures import State

from payments.infra import logs
from payments.infra.context import Context
from payments.web import app as web_app
from payments.web.app import AppOptions

MAX_IDLE_APPS = 8

_idle_apps: list[tuple[AppOptions, Litestar]] = []


@contextmanager
def lend_app(ctx: Context) -> Iterator[Litestar]:
    """Lend an application that answers from this context; one given a route is not lent again."""
    web_app.check_settings(ctx.settings)
    logs.configure(ctx.settings.log_level)
    options = AppOptions.of(ctx.settings)
    app = _idle_app(options) or web_app.build(options)
    routes = _routes(app)
    web_app.attach(app, ctx)
    try:
        yield app
    finally:
        app.state = State()
        if _routes(app) == routes:
            _idle_apps.append((options, app))
            del _idle_apps[:-MAX_IDLE_APPS]


def _idle_app(options: AppOptions) -> Litestar | None:
    for index, (found, app) in enumerate(_idle_apps):
        if found == options:
            del _idle_apps[index]
            return app
    return None


def _routes(app: Litestar) -> list[tuple[str, int]]:
    return [(route.path, id(route)) for route in app.routes]
