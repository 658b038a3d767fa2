"""Templates, and what every page is given. Templates show; they do not decide."""

import functools
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from litestar import Response
from litestar.enums import MediaType
from markupsafe import Markup

from payments.core import i18n
from payments.infra.context import Runtime
from payments.web import locale

HERE = Path(__file__).parent


@functools.cache
def _environment(spoken: str) -> Environment:
    """Jinja in one language, with escaping on and every name required."""
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        extensions=["jinja2.ext.i18n"],
        trim_blocks=False,
    )
    words = i18n.translations(spoken)
    made.install_gettext_translations(words, newstyle=True)  # type: ignore[attr-defined]  # from the i18n extension
    made.filters |= {"here": _here, "bdi": _apart}
    return made


@pass_context  # or Jinja would work it out once, when it compiles the template
def _here(_context: Context, address: str) -> str:
    """An address of ours, in the language of this request."""
    return locale.here(address)


def _apart(text: str) -> Markup:
    """An amount within a sentence, whatever way the sentence runs."""
    return Markup("<bdi>{}</bdi>").format(text)


def page(
    rt: Runtime,
    template: str,
    *,
    status: int = 200,
    **context: object,
) -> Response[str]:
    """A page as HTML, in the language of the request it answers."""
    spoken = locale.spoken()
    text = (
        _environment(spoken)
        .get_template(template)
        .render(
            lang=locale.tag(),
            dir=i18n.direction(spoken),
            chosen_lang=locale.chosen(),
            tongues=locale.others(status=status),
            publication=rt.settings.publication,
            base_path="",
            help_url=rt.settings.support_contact,
            status=status,
            **context,
        )
    )
    headers = {"content-language": locale.tag(), "vary": "Accept-Language"}
    return Response(text, status_code=status, media_type=MediaType.HTML, headers=headers)
