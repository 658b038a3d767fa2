"""Templates, and what every page is given. Templates show; they do not decide."""

import functools
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context as TemplateContext
from litestar import Response
from litestar.enums import MediaType
from markupsafe import Markup

from payments.core import i18n
from payments.infra.context import Context
from payments.web import request_locale

WEB_DIR = Path(__file__).parent


@functools.cache
def _jinja_environment(locale: str) -> Environment:
    """Jinja in one language, with escaping on and every name required."""
    made = Environment(
        loader=FileSystemLoader(WEB_DIR / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        extensions=["jinja2.ext.i18n"],
        trim_blocks=False,
    )
    words = i18n.translations(locale)
    made.install_gettext_translations(words, newstyle=True)  # type: ignore[attr-defined]  # from the i18n extension
    made.filters |= {"here": _localised_url_filter, "bdi": _bidi_isolate}
    return made


@pass_context  # or Jinja would work it out once, when it compiles the template
def _localised_url_filter(_context: TemplateContext, address: str) -> str:
    """An address of ours, in the language of this request."""
    return request_locale.localised_url(address)


def _bidi_isolate(text: str) -> Markup:
    """An amount within a sentence, whatever way the sentence runs."""
    return Markup("<bdi>{}</bdi>").format(text)


def render(
    ctx: Context,
    template: str,
    *,
    status: int = 200,
    **context: object,
) -> Response[str]:
    """A page as HTML, in the language of the request it answers."""
    spoken = request_locale.current()
    text = (
        _jinja_environment(spoken)
        .get_template(template)
        .render(
            lang=request_locale.language_tag(),
            dir=i18n.text_direction(spoken),
            chosen_lang=request_locale.chosen_tag(),
            tongues=request_locale.language_links(status=status),
            publication=ctx.settings.publication_name,
            base_path="",
            help_url=ctx.settings.support_contact,
            status=status,
            **context,
        )
    )
    headers = {"content-language": request_locale.language_tag(), "vary": "Accept-Language"}
    return Response(text, status_code=status, media_type=MediaType.HTML, headers=headers)
