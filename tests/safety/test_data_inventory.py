"""The page about safety says what is stored of a donor and for how long, in every language, and the
table behind it knows every column.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from babel.messages.pofile import read_po

from payments.core import i18n
from payments.core.brand_settings import ArticlePolicy
from payments.infra import db
from payments.risk import donor_notice
from payments.safety import data_inventory
from payments.web import app
from tests.support.donor import well_formed_page
from tests.support.locales import NEWSROOM_LOCALES
from tests.support.newsroom import Newsroom, open_newsroom
from tests.support.safety_policy import POLICY, policy_file

assert app  # it imports every noun, so that each table is known


@pytest.fixture
async def room(database: str, tmp_path: Path) -> AsyncIterator[Newsroom]:
    policy = POLICY.replace('"The Example"', '"Новая газета"')
    async with open_newsroom(database, donor_safety_policy=policy_file(tmp_path, policy)) as made:
        yield made
        await made.runs_until_idle()
        assert made.sandbox.problems == []


def test_every_column_of_the_schema_is_classified_once() -> None:
    tables = db.Base.metadata.tables.values()
    schema = sorted((table.name, column.name) for table in tables for column in table.columns)
    assert sorted(data_inventory.all_columns()) == schema


@pytest.mark.anyio
@pytest.mark.parametrize("lang", NEWSROOM_LOCALES)
async def test_the_page_says_what_is_retained_in_every_language(room: Newsroom, lang: str) -> None:
    answer = await room.web.get(f"/safety?lang={lang}")
    assert answer.status_code == 200
    well_formed_page(answer)
    catalogue = i18n.translations(lang)
    data_classes, _ = data_inventory.shown(room.settings.articles)
    with_articles, _ = data_inventory.shown(ArticlePolicy.REVENUE)
    assert [one for one in with_articles if one not in data_classes] == [
        data_inventory.GIFT_ARTICLES
    ]
    for data_class in data_classes:
        for text in (data_class.description, data_class.retention):
            assert lang == "en" or catalogue.gettext(text) != text, text
            assert catalogue.gettext(text).replace("'", "&#39;") in answer.text
    assert room.settings.statement_descriptor in answer.text
    assert "address_hash" in answer.text


def test_the_notice_is_in_every_catalogue() -> None:
    for lang in i18n.SUPPORTED_LOCALES[1:]:
        with (i18n.LOCALES_DIR / lang / i18n.CATALOGUE).open("rb") as file:
            catalogue = read_po(file, locale=lang)
        for text in (
            donor_notice.TITLE_TEXT,
            donor_notice.ELIGIBILITY_TEXT,
            donor_notice.BANK_VISIBILITY_TEXT,
            donor_notice.LONG_TERM_RISK_TEXT,
            donor_notice.LOCATION_WARNING_TEXT,
        ):
            found = catalogue.get(text)
            assert found is not None, text
            assert found.string, text
