"""A file of campaigns is applied as a whole or not at all, and comes back as it was."""

import json
from pathlib import Path

import pytest

from payments.core.campaign_parser import InvalidCampaign
from payments.giving import campaigns
from tests.support import command_line
from tests.support.campaigns import (
    SPRING,
    TESTED,
    apply_campaigns,
)
from tests.support.newsroom import Newsroom

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("bad", "field", "says"),
    [
        ("id = 'A b'", "campaigns[0].id", "lower-case letters"),
        (f"id = '{'x' * 65}'", "campaigns[0].id", "1 to 64"),
        ("id = 'reminder'", "campaigns[0].id", "a name we use ourselves"),
        ("id = 'x'\ncolour = 'red'", "campaigns[0]", "colour"),
        ("id = 'x'\ncurrency = 'xyz'", "campaigns[0].currency", "one of usd"),
        ("id = 'x'\nenabled = 'yes'", "campaigns[0].enabled", "true or false"),
        ("id = 'x'\nevaluate_after_days = 7", "campaigns[0].evaluate_after_days", "30 or 90"),
        (
            "id = 'x'\ndefault_frequency = 'weekly'",
            "campaigns[0].default_frequency",
            "once, monthly",
        ),
        (
            "id = 'x'\nstarts_on = 2026-03-02\nends_on = 2026-03-01",
            "campaigns[0].ends_on",
            "before starts_on, 2026-03-02",
        ),
        ("id = 'x'\nmessage.it = 'Ciao'", "campaigns[0].message.it", "one of en, ar, de"),
        (
            f"id = 'x'\nmessage.en = '{'x' * 3001}'",
            "campaigns[0].message.en",
            "has 1 to 3,000 characters; here 3,001",
        ),
        ("id = 'x'\ncurrencies = ['usd', 'xyz']", "campaigns[0].currencies[1]", "one of usd"),
        ("id = 'x'\ncurrencies = ['usd', 'usd']", "campaigns[0].currencies", "there twice"),
        ("id = 'x'\nfollowed_by = 'x'", "campaigns[0].followed_by", "cannot follow itself"),
        ("id = 'x'\nfollowed_by = 'X Y'", "campaigns[0].followed_by", "the id of the campaign"),
        (f"id = 'x'\nheadline.en = '{'x' * 121}'", "campaigns[0].headline.en", "1 to 120"),
        (f"id = 'x'\nbutton.en = '{'x' * 41}'", "campaigns[0].button.en", "1 to 40"),
        (f"id = 'x'\nthanks.en = '{'x' * 1001}'", "campaigns[0].thanks.en", "1 to 1,000"),
        ('id = "x"\nbutton.en = "a\\nb"', "campaigns[0].button.en", "one line; it has U+000A"),
        (
            "id = 'x'\nmessage.en = 'a [b](javascript:alert) c'",
            "campaigns[0].message.en",
            "http:// or https://",
        ),
        ("id = 'x'\nmessage.en = ' '", "campaigns[0].message.en", "1 to 3,000"),
        ('id = "x"\nmessage.en = "a\\u0000b"', "campaigns[0].message.en", "U+0000"),
        ('id = "x"\nmessage.en = "a\\u202Eb"', "campaigns[0].message.en", "U+202E"),
        (
            "id = 'x'\npresets.weekly.usd = [500]",
            "campaigns[0].presets:",
            "once, monthly or annual",
        ),
        (
            "id = 'x'\npresets.once.usd = [199]",
            "campaigns[0].presets.once.usd",
            "smallest gift, 200 (2.00 USD)",
        ),
        (
            "id = 'x'\npresets.once.usd = [1000001]",
            "campaigns[0].presets.once.usd",
            "largest gift, 1000000 (10000.00 USD)",
        ),
        ("id = 'x'\npresets.once.usd = []", "campaigns[0].presets.once.usd", "1 to 6"),
        (
            "id = 'x'\npresets.once.usd = [200,300,400,500,600,700,800]",
            "campaigns[0].presets.once.usd",
            "here 7",
        ),
        (
            "id = 'x'\npresets.once.usd = [500, 500]",
            "campaigns[0].presets.once.usd",
            "each is more",
        ),
        ("id = 'x'\npresets.once.usd = [5.5]", "campaigns[0].presets:", "whole minor units"),
        ("id = 'x'\npresets.once.kwd = [1501]", "campaigns[0].presets.once.kwd", "multiple of 10"),
        ("id = 'x'\ndefaults.once.usd = 501", "campaigns[0].defaults.once.usd", "not one of"),
        ("id = 'x'\n[[campaigns.variants]]\nname='a'", "campaigns[0].variants", "2 to 4; here 1"),
        (
            "id = 'x'" + "\n[[campaigns.variants]]\nname='a'" * 2,
            "campaigns[0].variants[1].name",
            "there twice",
        ),
        (
            (
                "id = 'x'\n[[campaigns.variants]]\nname='a'\n[[campaigns.variants]]\nname='b'\n"
                "message.ru = ''"
            ),
            "campaigns[0].variants[1].message.ru",
            "1 to 3,000",
        ),
        ("id = 'x'\n[[campaigns]]\nid = 'x'", "campaigns[1].id", "there twice"),
    ],
)
async def test_a_file_that_makes_no_sense_names_the_field_and_changes_nothing(
    newsroom: Newsroom, bad: str, field: str, says: str
) -> None:
    with pytest.raises(InvalidCampaign) as refused:
        await apply_campaigns(newsroom, f"[[campaigns]]\n{bad}\n[[campaigns]]\nid = 'good'")
    assert refused.value.detail.startswith(field), refused.value.detail
    assert says.lower() in refused.value.detail.lower(), refused.value.detail
    assert "Nothing was changed." in refused.value.detail
    assert await newsroom.count("campaigns") == 0


@pytest.mark.parametrize("data", [b"", b"campaigns = 5", b"\xff\xfe", b"[[campaigns]", b"x = 1"])
async def test_what_is_no_file_of_campaigns_is_refused(newsroom: Newsroom, data: bytes) -> None:
    with pytest.raises(InvalidCampaign):
        await campaigns.apply_file(newsroom.ctx, data)
    with pytest.raises(InvalidCampaign):
        await campaigns.apply_file(newsroom.ctx, data, json=True)


async def test_at_most_fifty_are_shown_at_once(newsroom: Newsroom) -> None:
    def many(number: int) -> str:
        return "".join(f"[[campaigns]]\nid = 'c{n}'\n" for n in range(number))

    alike = "[[campaigns]]\nid = 'fall-10'\n[[campaigns]]\nid = 'fall-lo'\n"
    with pytest.raises(InvalidCampaign, match="looks like the id of another campaign"):
        await apply_campaigns(newsroom, alike)
    with pytest.raises(InvalidCampaign, match="at most 50 campaigns at once"):
        await apply_campaigns(newsroom, many(51))
    assert await newsroom.count("campaigns") == 0
    await apply_campaigns(newsroom, many(50))
    assert await newsroom.count("campaigns") == 50


GOAL = """
[campaigns.goal]
amount = 50000
currency = "eur"
[campaigns.matching]
sponsor = "Blue"
ceiling = 9000
currency = "eur"
ends_on = 2026-12-31
"""


async def run(room: Newsroom, *words: str) -> tuple[int, str, str]:
    """Run `payments …`. Returns its exit code and what it wrote."""
    finished = await command_line.run(room.settings, *words)
    return finished.exit_code, finished.stdout.decode(), finished.stderr


async def test_the_operator_loads_a_file_and_gets_the_same_back(
    newsroom: Newsroom, tmp_path: Path
) -> None:
    file = tmp_path / "campaigns.toml"
    file.write_text(SPRING + GOAL + TESTED, encoding="utf-8")
    code, out, err = await run(newsroom, "campaigns", "apply", str(file), "--dry-run")
    assert (code, out) == (0, "spring: new\ntested: new\n"), err
    assert "Nothing was changed" in err
    assert await newsroom.count("campaigns") == await newsroom.count("audit_entries") == 0
    code, out, _ = await run(newsroom, "campaigns", "apply", str(file), "--json")
    assert json.loads(out) == {"spring": "new", "tested": "new"}
    code, out, _ = await run(newsroom, "campaigns", "show", "--json")
    again = tmp_path / "again.json"
    again.write_text(out, encoding="utf-8")
    assert {one["id"] for one in json.loads(out)["campaigns"]} == {"spring", "tested"}
    code, out, _ = await run(newsroom, "campaigns", "apply", str(again))
    assert (code, sorted(out.split())) == (0, ["spring:", "tested:", "unchanged", "unchanged"])
    code, out, _ = await run(newsroom, "embed", "--campaign", "spring", "--lang", "ru")
    assert "Три репортёра" in out
    assert 'frequency="annual"' in out
    assert 'amount="3000"' in out
    code, out, err = await run(newsroom, "campaigns", "show", "spring")
    assert out == "spring  on  ..  goal 500.00 EUR, at least 0%\n", err
    code, out, err = await run(newsroom, "campaigns", "claims", "--json")
    assert json.loads(out) == [
        {"campaign": "spring", "sponsor": "Blue", "currency": "eur", "given": 0, "to_ask": 0}
    ], err
    file.write_text(SPRING.replace("[400, 900]", "[4]"), encoding="utf-8")
    code, out, err = await run(newsroom, "campaigns", "apply", str(file))
    assert (code, out) == (1, "")
    assert (
        "campaigns[0].presets.monthly.eur: 4 (0.04 EUR) is below the smallest gift, 200 (2.00 EUR)"
        in err
    )
    actions = await newsroom.rows("SELECT name, action, object_id FROM audit_entries ORDER BY seq")
    assert actions == [
        ("the command line", "campaign_created", "spring on"),
        ("the command line", "campaign_created", "tested on"),
    ]
