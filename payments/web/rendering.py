"""Rendering of pages: a Jinja template in the language of the request. Templates do not decide."""

import functools
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context as TemplateContext
from litestar import Response
from litestar.enums import MediaType
from markupsafe import Markup

from payments.core import i18n
from payments.infra.context import Context
from payments.web import brand_files, request_locale

WEB_DIR = Path(__file__).parent


@functools.cache
def _jinja_environment(locale: str) -> Environment:
    """Return Jinja in one language, with escaping on; an undefined name is an error."""
    environment = Environment(
        loader=FileSystemLoader(WEB_DIR / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        extensions=["jinja2.ext.i18n"],
        trim_blocks=False,
    )
    catalogue = i18n.translations(locale)
    environment.install_gettext_translations(  # type: ignore[attr-defined]  # the i18n extension's
        catalogue, newstyle=True
    )
    environment.globals |= {"comma": i18n.comma(locale), "semicolon": i18n.semicolon(locale)}
    environment.filters |= {"localised_url": _localised_url_filter, "bdi": _bidi_isolate}
    return environment


@pass_context  # or Jinja would evaluate a constant URL once, when it compiles the template
def _localised_url_filter(_context: TemplateContext, address: str) -> str:
    """Return a URL of ours in the language of the request."""
    return request_locale.localised_url(address)


def _bidi_isolate(text: str) -> Markup:
    """Return a text isolated from the direction of the sentence around it."""
    return Markup("<bdi>{}</bdi>").format(text)


def render(
    ctx: Context,
    template: str,
    *,
    status: int = 200,
    **context: object,
) -> Response[str]:
    """Return a page as HTML, in the language of the request. `context` is what it prints."""
    locale = request_locale.current()
    html = (
        _jinja_environment(locale)
        .get_template(template)
        .render(
            lang=request_locale.language_tag(),
            dir=i18n.text_direction(locale),
            chosen_lang=request_locale.chosen_tag(),
            language_links=request_locale.language_links(status=status),
            publication=ctx.settings.publication_name,
            brand_files=brand_files.files_of(ctx.settings),
            brand_lines=ctx.settings.brand_lines,
            base_path="",
            help_url=ctx.settings.support_contact,
            status=status,
            **context,
        )
    )
    headers = {"content-language": request_locale.language_tag(), "vary": "Accept-Language"}
    return Response(html, status_code=status, media_type=MediaType.HTML, headers=headers)
