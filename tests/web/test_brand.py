"""Pages, widget and mails are in the newsroom's name and colours, and legible in both lights."""

import itertools
import re
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from PIL import Image
from pydantic import ValidationError

from payments.core import brand_colors, brand_settings
from payments.core.settings import Settings
from payments.mail import brand, render
from payments.mail.outbox import MailKind
from payments.web import brand_files
from payments.web.donate import embed
from payments.web.rendering import WEB_DIR
from tests.support.app_pool import lend_app
from tests.support.newsroom import Newsroom, open_newsroom, settings_for
from tests.support.safety_policy import policy_file

pytestmark = pytest.mark.anyio
NOWHERE = ("postgresql+psycopg://nobody@localhost/none", "http://127.0.0.1:1")
NAME = "Lindenau Post"


def brand_with(folder: Path, *, width: int) -> dict[str, str]:
    logo = folder / f"{width}.png"
    Image.new("RGB", (width, 80), "navy").save(logo)
    return {
        "publication_name": NAME,
        "brand_color": "#B74900",
        "brand_logo": str(logo),
        "brand_address": "1 Canal Street, Amsterdam",
        "brand_legal_line": "Charity no. <12345>",
    }


async def test_pages_and_widget_carry_the_brand_from_our_own_origin(
    database: str, tmp_path: Path
) -> None:
    async with open_newsroom(database, **brand_with(tmp_path, width=80)) as room:
        for path in ("/", "/donate", "/manage", "/remind", "/nothing-there", "/staff"):
            html = (await room.web.get(path)).text
            assert html.count("1 Canal Street, Amsterdam") == 1, path
            assert "Charity no. &lt;12345&gt;" in html
            sheet, logo = addresses(html)
            assert f'<img src="{logo}" alt="" width="80" height="80">{NAME}</a>' in html
        style = await room.web.get(sheet)
        assert style.headers["content-type"] == "text/css; charset=utf-8"
        assert "--accent: #b74900;" in style.text
        assert f"--accent: {room.settings.dark_color};" in style.text.partition("dark")[2]
        picture = await room.web.get(logo)
        assert picture.headers["content-type"] == "image/png"
        assert picture.content == room.settings.brand_logo_png
        for answer in (style, picture):
            assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
            assert answer.headers["x-content-type-options"] == "nosniff"
        for missing in (f"{logo}x", "/brand/0000000000000000.css", "/brand/..%2Fapp.py"):
            assert (await room.web.get(missing)).status_code == 404

        snippet = embed.embed_snippet(room.settings)
        assert f'colors="#b74900 {room.settings.dark_color}"' in snippet
        assert "/brand/" not in snippet  # the widget asks for nothing
        script = (await room.web.get("/embed/en.js")).text
        assert f'"colors":"#b74900 {room.settings.dark_color}"' in script
        await keeps_no_trace_of_a_visit(room, policy_file(tmp_path), sheet, logo)


async def keeps_no_trace_of_a_visit(room: Newsroom, policy: str, *addresses: str) -> None:
    """Where donors are protected no browser keeps what names the newsroom."""
    settings = room.settings.model_copy(update={"donor_safety_policy": policy})
    with lend_app(replace(room.ctx, settings=settings)) as app:
        transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]  # the same protocol
        async with httpx.AsyncClient(transport=transport, base_url=settings.base_url) as web:
            for address in addresses:
                assert (await web.get(address)).headers["cache-control"] == "no-store"


def addresses(html: str) -> list[str]:
    """The addresses of the brand's style sheet and logo, and that nothing is from elsewhere."""
    found = re.findall(r'<(?:link|img)[^>]*(?:href|src)="([^"]*)"', html)
    assert [one for one in found if not one.startswith("/")] == []
    return [one for one in found if one.startswith("/brand/")]


async def test_without_a_brand_nothing_more_is_loaded_and_a_wide_logo_says_the_name(
    newsroom: Newsroom, tmp_path: Path
) -> None:
    plain = (await newsroom.web.get("/donate")).text
    assert addresses(plain) == []
    assert "imprint" not in plain
    assert "colors=" not in embed.embed_snippet(newsroom.settings)
    assert '"colors":""' in (await newsroom.web.get("/embed/en.js")).text
    wide = settings_for(*NOWHERE, **brand_with(tmp_path, width=240))
    with lend_app(replace(newsroom.ctx, settings=wide)) as app:
        transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]  # the same protocol
        async with httpx.AsyncClient(transport=transport, base_url=wide.base_url) as web:
            html = (await web.get("/donate")).text
    (_, logo) = addresses(html)
    assert f'<img src="{logo}" alt="{NAME}" width="240" height="80"></a>' in html
    titles = [re.findall("<title>(.*)</title>", page) for page in (html, plain)]
    assert titles[0] == titles[1]  # which names nobody


def settings_refused(name: str, value: str) -> str:
    with pytest.raises(ValidationError) as refused:
        settings_for(*NOWHERE, **{name: value})
    return str(refused.value)


def test_a_colour_that_is_not_legible_is_refused_with_its_contrast_and_the_nearest_that_is() -> (
    None
):
    for name, value, ratio in (
        ("brand_color", "#f2c14e", "1.54"),
        ("brand_color", "#767676", "3.95"),  # legible on white, not on all that it stands on
        ("brand_color_dark", "#1f3a5f", "1.43"),
    ):
        said = settings_refused(name, value)
        assert name in said
        assert f"text with {value} has a contrast of {ratio} to 1" in said, said
        nearest = re.findall(r"nearest colour that has it is (#[0-9a-f]{6})", said)
        assert getattr(settings_for(*NOWHERE, **{name: nearest[0]}), name) == nearest[0]
    for name in ("brand_color", "brand_color_dark"):
        for value in ("navy", "#12345", "#1234567", "url(x)", "#12345g"):
            assert name in settings_refused(name, value)


def test_every_colour_has_a_nearest_one_that_is_legible_in_both_lights() -> None:
    steps = range(0, 256, 85)
    for parts in itertools.product(steps, steps, steps):
        colour = "#{:02x}{:02x}{:02x}".format(*parts)
        light = brand_colors.light(brand_colors.nearest_light(colour))
        dark = brand_colors.dark(brand_colors.nearest_dark(colour))
        for palette, grounds in (
            (light, brand_colors.LIGHT_GROUNDS),
            (dark, brand_colors.DARK_GROUNDS),
        ):
            assert brand_colors.least_contrast(palette, grounds) >= 4.5
    assert brand_colors.contrast("#000000", "#ffffff") == pytest.approx(21)
    assert brand_colors.contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_the_palette_stands_on_the_grounds_of_the_style_sheets() -> None:
    site = (WEB_DIR / "static" / "site.css").read_text()
    widget = (WEB_DIR / "widget" / "donate-form.js").read_text()
    light, dark = site.split("@media (prefers-color-scheme: dark)")[:2]
    grounds = (
        (light, brand_colors.LIGHT_GROUNDS, brand_settings.DEFAULT_COLOR),
        (dark, brand_colors.DARK_GROUNDS, brand_settings.DEFAULT_DARK_COLOR),
    )
    for sheet, known, accent in grounds:
        named = dict(re.findall(r"--([a-z]+): (#[0-9a-f]+);", sheet.partition("}")[0]))
        assert {full(named["paper"]), full(named["sheet"])} <= set(known)
        assert named["accent"] == accent
    paper = re.search(r'\["paper", "(#\w+)", "(#\w+)"\]', widget)
    text = re.search(r'\["on-accent", "(#\w+)", "(#\w+)"\]', widget)
    assert paper is not None
    assert text is not None
    assert full(paper[1]) in brand_colors.LIGHT_GROUNDS
    assert paper[2] in brand_colors.DARK_GROUNDS
    assert (full(text[1]), text[2]) == (brand_colors.WHITE, brand_colors.WIDGET_DARK_TEXT)


def full(colour: str) -> str:
    """A colour of three digits with six."""
    return colour if len(colour) == 7 else "#" + "".join(2 * one for one in colour[1:])


def test_a_branded_mail_has_the_colour_that_is_legible_in_each_light(tmp_path: Path) -> None:
    settings: Settings = settings_for(*NOWHERE, **brand_with(tmp_path, width=80))
    variables = {"minutes": 10, "sign_in_link": "https://x.example/y", "code": "ABCDE"}
    html = render.render(MailKind.SIGN_IN, "en", variables, brand.brand_of(settings)).html
    assert "background:#b74900;color:#ffffff" in html
    assert f"a{{color:{settings.dark_color}!important}}" in html
    assert brand_files.files_of(settings).logo is not None
