"""Templates, and what every page is given. Templates show; they do not decide."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Response
from litestar.enums import MediaType

from payments.runtime import Runtime

HERE = Path(__file__).parent
LANGUAGES = ("en",)


def environment() -> Environment:
    """Jinja with escaping on and every name required."""
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        extensions=["jinja2.ext.i18n"],
        trim_blocks=False,
    )
    made.install_null_translations(newstyle=True)  # type: ignore[attr-defined]  # from the i18n extension
    return made


_environment = environment()


def page(
    rt: Runtime,
    template: str,
    *,
    status: int = 200,
    **context: object,
) -> Response[str]:
    """A page as HTML."""
    text = _environment.get_template(template).render(
        lang="en",
        dir="ltr",
        publication=rt.settings.publication,
        base_path="",
        help_url=rt.settings.support_contact,
        status=status,
        **context,
    )
    return Response(text, status_code=status, media_type=MediaType.HTML)
