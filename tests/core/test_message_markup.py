"""A message is paragraphs with emphasis and links, and nothing else can come of it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payments.core import message_markup
from payments.core.message_markup import InvalidMarkup
from tests.support.campaigns import FIRST_USERS_MESSAGE
from tests.support.page import Page


def html(text: str) -> str:
    return str(message_markup.to_html(message_markup.parse(text)))


def test_the_first_users_own_message_is_six_paragraphs_word_for_word() -> None:
    assert len(FIRST_USERS_MESSAGE) == 989
    paragraphs = message_markup.parse(FIRST_USERS_MESSAGE.replace("\n", "\r\n"))
    texts = ["".join(part.text for part in paragraph) for paragraph in paragraphs]
    assert texts == FIRST_USERS_MESSAGE.split("\n\n")
    assert len(texts) == 6


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("One.\n\n\nTwo.", "<p>One.</p><p>Two.</p>"),
        ("One,\ntwo.", "<p>One,<br>two.</p>"),
        ("*a* and **b c**", "<p><em>a</em> and <strong>b c</strong></p>"),
        ("5 * 3 * 2 = 30, **", "<p>5 * 3 * 2 = 30, **</p>"),
        ("<b>*a*</b>", "<p>&lt;b&gt;<em>a</em>&lt;/b&gt;</p>"),
        ("[why](https://x.example/?a=1&b=2)",
         '<p><a href="https://x.example/?a=1&amp;b=2" rel="noreferrer">why</a></p>'),
        ("[<i>](http://x.example)",
         '<p><a href="http://x.example" rel="noreferrer">&lt;i&gt;</a></p>'),
        ("[a] (b) [c]", "<p>[a] (b) [c]</p>"),
        ("![x](https://x.example/pixel.gif)",
         '<p>!<a href="https://x.example/pixel.gif" rel="noreferrer">x</a></p>'),
    ],
)  # fmt: skip
def test_what_is_written_is_what_is_printed(text: str, printed: str) -> None:
    assert html(text) == printed


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert", "JAVASCRIPT:alert", "data:text/html,x", "//x.example", "/donate", "",
        "https://", "https:///x", "ftp://x.example", "https://a@x.example", "https://x.example/ y",
        'https://x.example/"onclick=', "https://x.example/<b>", "https://[x", "http://x.example/é",
        "https://x.example/" + "y" * 500, "java\tscript:alert",
    ],
)  # fmt: skip
def test_a_link_goes_to_the_web_and_nowhere_else(url: str) -> None:
    with pytest.raises(InvalidMarkup, match="link"):
        message_markup.parse(f"See [this]({url}).")


@pytest.mark.parametrize("control", ["\x00", "\x1b", "\u202e", "\u2066", "\u2028", "\ue000"])
def test_what_is_no_text_is_refused_by_its_number(control: str) -> None:
    with pytest.raises(InvalidMarkup, match=f"U\\+{ord(control):04X}"):
        message_markup.parse(f"a{control}b")


@given(
    st.text(alphabet=st.sampled_from("ab <>&\"'*[]()!\n\\`_#:/=") | st.characters(), max_size=80)
)
def test_nothing_else_can_come_of_any_text(text: str) -> None:
    try:
        printed = html(text)
    except InvalidMarkup:
        return
    tags = {tag for tag, _ in Page(printed).attributes}
    assert tags <= {"p", "br", "em", "strong", "a"}
    for tag, named in Page(printed).attributes:
        assert set(named) == ({"href", "rel"} if tag == "a" else set())
        assert re.match(r"https?://", named.get("href", "https://"))
