"""The widget's file: small, closed, and of one mind with the server about every amount typed."""

# ruff: noqa: RUF001 - digits of many scripts are what this is about

import base64
import hashlib
import json
import random
import re
import shutil
import subprocess
from itertools import product

import pytest

from payments.core import amount_input, i18n, money
from payments.web import widget_files
from payments.web.donate import widget_facts
from tests.support.newsroom import REAL_TIMEOUT_SECONDS

LOCALES = ("en", "de", "fr", "ru", "ar", "fa", "hi", "de-CH", "sv", "pt-BR")
SCRIPTS = (
    "0123456789",
    "٠١٢٣٤٥٦٧٨٩",
    "۰۱۲۳۴۵۶۷۸۹",
    "०१२३४५६७८९",
    "０１２３４５６７８９",
    "𝟎𝟏𝟐𝟑𝟒𝟓𝟔𝟕𝟖𝟗",
)
SEEN = (
    *("12,50", "12.50", "1250", "1,250", "1.250", "1.250,00", "1,250.00", "1 250", "1 250,5"),
    *("1'250.50", "1’250,50", "12,50,000", "1,2,3", "1.2.3", "0,5", ".5", "5.", "5,", "0", "0.00"),
    *("$5", "5 $", "US$ 12,50", "5 €", "€5", "5 EUR", "eur 5", "kr. 50", "50 kr", "zł 20", "¥500"),
    *("5²", "②", "½", "-5", "+5", "5e3", "1_000", "5 USD", "USD USD 5", "", " ", "abc", "٥", "۵٫۵"),
    *(
        "١٬٢٥٠",
        "١٢٫٥٠",
        "1,2345",
        "12.505",
        "500.00",
        "500.000",
        "1.000",
        "0.200",
        "12345678901234",
    ),
    *("\u200f12,50\u200e", "12\u00a050", "1\u202f250,00", "12\t50", "1" * 65, "1.2345", "0,001"),
)
RUN = """
globalThis.HTMLElement = class {};
let made;
globalThis.customElements = { get() {}, define(name, kind) { made = kind; } };
await import("data:text/javascript;base64," + process.argv[1]);
let input = "";
for await (const piece of process.stdin) input += piece;
const { amounts, signs } = JSON.parse(input);
const answers = amounts.map(([text, code, locale]) => {
  try { return { amount: made.parse(text, code, locale, signs[code]) }; }
  catch (error) {
    if (!error.code) throw error;
    return { code: error.code, candidates: error.candidates };
  }
});
console.log(JSON.stringify(answers));
"""


def newest() -> bytes:
    """The widget's file."""
    return widget_files.script(widget_files.built().current)


def corpus() -> list[tuple[str, str, str]]:
    """What people type, and what nobody should, in every currency as every locale reads it."""
    dice = random.Random(5)
    typed = [*SEEN]
    for _ in range(600):
        digits = "".join(dice.choice("0123456789") for _ in range(dice.randint(1, 9)))
        parts = re.findall(".{1,3}", digits[::-1])
        text = dice.choice([".", ",", " ", "'", "", "٬"]).join(parts)[::-1]
        if dice.random() < 0.6:
            decimals = "".join(dice.choice("0123456789") for _ in range(dice.randint(0, 4)))
            text += dice.choice([".", ",", "٫"]) + decimals
        text = text.translate(str.maketrans("0123456789", dice.choice(SCRIPTS)))
        typed.append(dice.choice(["", "$", "€ ", ""]) + text + dice.choice(["", " kr", " EUR", ""]))
    pairs = list(product(money.GIFT_LIMITS, LOCALES))
    return [(text, *pair) for text in typed for pair in dice.sample(pairs, 12)]


def read(text: str, currency: str, locale: str) -> dict[str, object]:
    """What the server makes of it, in the widget's words."""
    try:
        return {"amount": amount_input.parse_amount(text, currency, locale).amount}
    except amount_input.AmountAmbiguous as asks:
        return {"code": "ambiguous", "candidates": [one.amount for one in asks.candidates]}
    except (money.AmountTooLarge, money.AmountTooSmall):
        return {"code": "range", "candidates": []}
    except money.InvalidAmount:
        return {"code": "number", "candidates": []}


def test_the_widget_reads_every_amount_as_the_server_does() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not here: the widget's reading of amounts was not compared")
    amounts = corpus()
    script = base64.b64encode(newest()).decode()
    signs = {code: " ".join(of) for code, of in amount_input.CURRENCY_SYMBOLS.items()}
    finished = subprocess.run(
        [node, "--input-type=module", "-e", RUN, script],
        input=json.dumps({"amounts": amounts, "signs": signs}),
        capture_output=True,
        text=True,
        check=True,
        timeout=REAL_TIMEOUT_SECONDS,
    )
    answers = json.loads(finished.stdout)
    wrong = [
        (one, answer, expected)
        for one, answer in zip(amounts, answers, strict=True)
        if answer != (expected := read(*one))
    ]
    assert wrong == [], f"{len(wrong)} of {len(amounts)}: {wrong[:12]}"
    assert sum("amount" in answer for answer in answers) > len(answers) / 10


def test_the_file_is_built_from_the_source_that_is_here() -> None:
    source = widget_files.SOURCE.read_bytes()
    assert hashlib.sha256(source).hexdigest() == widget_files.built().source, "run `make widget`"
    assert widget_files.built().current in widget_files.names()


def test_every_file_is_named_by_its_hash_so_none_that_was_released_can_change() -> None:
    for name in widget_files.names():
        assert hashlib.sha384(widget_files.script(name)).hexdigest().startswith(name)


def test_every_language_has_all_its_words() -> None:
    for locale in i18n.SUPPORTED_LOCALES[1:]:
        words = i18n.translations(locale)
        assert [
            text for text in widget_facts.WIDGET_TEXTS.values() if words.gettext(text) == text
        ] == []
        for text in widget_facts.WIDGET_TEXTS.values():
            places = re.findall(r"\{\w+\}", text)
            assert sorted(re.findall(r"\{\w+\}", words.gettext(text))) == sorted(places)


def test_it_asks_nobody_and_stores_nothing_but_the_dismissal() -> None:
    text = newest().decode()
    for word in (
        "fetch",
        "XMLHttpRequest",
        "sendBeacon",
        "cookie",
        "innerHTML",
        "eval(",
        "import(",
    ):
        assert word not in text
    assert set(re.findall(r"localStorage\.\w+\(\"(.+?)\"", text)) == {"donate-form"}
