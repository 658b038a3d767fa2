"""A campaign's goal is shown in steps that tell of nobody, and matching ends by itself."""

from datetime import UTC, date, datetime, timedelta

import pytest

from payments.core import campaign_goal, campaign_parser
from payments.core.campaign_goal import MIN_DONORS, Goal, Matching, Progress, Totals
from payments.core.campaign_parser import InvalidCampaign
from payments.core.campaign_schema import to_dict
from payments.core.money import Money
from payments.web.staff import campaign_form

NOW = datetime(2026, 11, 22, 2, tzinfo=UTC)
GOAL = Goal(amount=10_000, currency="eur")
MATCHING = Matching(sponsor="Blue", ceiling=2_000, currency="eur", ends_on=date(2026, 12, 31))
HEAD = "[[campaigns]]\nid = 'x'\n"
WRITTEN = """
goal = {amount = 10000, currency = "eur"}
matching = {sponsor = "Blue", ceiling = 2000, currency = "eur", ends_on = 2026-12-31}
"""


def count(
    before: Progress | None,
    given: int,
    *,
    donors: int = MIN_DONORS,
    matchable: int = 0,
    goal: Goal | None = GOAL,
    matching: Matching | None = MATCHING,
) -> Progress:
    """The count of the day after."""
    now = NOW if before is None else NOW + (before.counted_on - NOW.date()) + timedelta(days=1)
    totals = Totals(given, matchable, donors)
    return campaign_goal.count(
        goal, matching, before=before, totals=totals, now=now, today=now.date()
    )


def test_a_step_up_needs_ten_donors_and_a_step_down_none() -> None:
    few = count(None, 9_999, donors=MIN_DONORS - 1)
    assert (few.step, few.changed_at) == (0, None)
    first = count(few, 3_999)
    assert first.step == 3
    assert campaign_goal.counts_since(GOAL, first) == first.changed_at is not None
    few = count(first, 9_000, donors=MIN_DONORS - 1)
    assert (few.step, few.changed_at) == (3, first.changed_at)  # the nine count for the next step
    taken_back = count(few, 2_999, donors=0)
    assert (taken_back.step, count(taken_back, 3_000, donors=1).step) == (2, 2)
    assert (count(first, 0, donors=0).step, count(first, 99_999).step) == (0, 10)


def test_what_was_counted_for_another_goal_is_not_said_of_this_one() -> None:
    first = count(None, 5_000)
    dearer = Goal(amount=20_000, currency="eur")
    assert count(first, 5_000, goal=dearer).step == 2
    assert campaign_goal.counts_since(dearer, first) is None
    said = campaign_goal.public_goal(
        dearer, None, first, today=NOW.date(), ends_on=None, with_progress=True
    )
    assert said is not None
    assert (said.goal, said.step, said.percent) == (dearer, None, None)


@pytest.mark.parametrize(("with_progress", "percent"), [(True, 50), (False, None)])
def test_a_policy_may_hide_how_far_it_is(with_progress: bool, percent: int | None) -> None:
    progress = count(None, 5_000)
    said = campaign_goal.public_goal(
        GOAL, MATCHING, progress, today=NOW.date(), ends_on=None, with_progress=with_progress
    )
    assert said is not None
    assert (said.goal, said.matching, said.percent) == (GOAL, MATCHING, percent)


def test_matching_is_said_from_its_first_day_to_its_last_and_until_it_is_used_up() -> None:
    def is_said(today: date, progress: Progress | None, matching: Matching = MATCHING) -> bool:
        said = campaign_goal.public_goal(
            None, matching, progress, today=today, ends_on=None, with_progress=True
        )
        return said is not None and said.matching is not None

    assert is_said(MATCHING.ends_on, None)
    assert not is_said(MATCHING.ends_on + timedelta(days=1), None)
    begins = Matching(sponsor="B", ceiling=9, currency="eur", starts_on=NOW.date(),
                      ends_on=NOW.date())  # fmt: skip
    assert is_said(NOW.date(), None, begins)
    assert not is_said(NOW.date() - timedelta(days=1), None, begins)
    nearly = count(None, 0, matchable=1_799)
    assert is_said(NOW.date(), nearly)
    used_up = count(nearly, 0, matchable=1_800)  # nine tenths: what comes until the next count
    refunded = count(used_up, 0, matchable=0)
    assert not is_said(NOW.date(), used_up)
    assert not is_said(NOW.date(), refunded)
    more = Matching(sponsor="Blue", ceiling=4_000, currency="eur", ends_on=MATCHING.ends_on)
    assert is_said(NOW.date(), used_up, more)
    assert not count(used_up, 0, matchable=1_800, matching=more).is_used_up
    renamed = Matching(sponsor="Bleu", ceiling=2_000, currency="eur", ends_on=MATCHING.ends_on)
    assert not is_said(NOW.date(), used_up, renamed)


@pytest.mark.parametrize(
    ("percent", "currency", "given", "added", "to_ask"),
    [
        (100, "usd", 100, 100, 999),
        (50, "usd", 100, 50, 499),  # a cent that is not whole is not asked for
        (300, "jpy", 100, 300, 2000),
        (33, "kwd", 1000, 330, 329),
    ],
)
def test_what_is_added_is_so_many_percent_up_to_the_ceiling(
    percent: int, currency: str, given: int, added: int, to_ask: int
) -> None:
    one = Matching(sponsor="B", percent=percent, ceiling=2_000, currency=currency,
                   ends_on=NOW.date())  # fmt: skip
    assert one.example() == (Money(given, currency), Money(added, currency))
    assert one.added_to(Money(999, currency)) == Money(to_ask, currency)


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        ({"amount = 10000": "amount = 0"}, "goal.amount", "whole minor units"),
        ({"10000, currency = \"eur\"": "1, currency = \"xyz\""}, "goal.currency", "one of usd"),
        ({"2000, currency = \"eur\"": "1, currency = \"usd\""}, "matching.currency", "of the goal"),
        ({"ceiling = 2000": "ceiling = 2.5"}, "matching.ceiling", "whole minor units"),
        ({"\"Blue\"": "\"\""}, "matching.sponsor", "1 to 80"),
        ({"\"Blue\"": "\"B\\u202Eeulb\""}, "matching.sponsor", "U+202E"),
        ({"\"Blue\"": "\"a\\nb\""}, "matching.sponsor", "one line"),
        ({"ceiling": "percent = 0, ceiling"}, "matching.percent", "1 to 1,000"),
        ({"ends_on = 2026-12-31": "ends_on = 2026-12-31, starts_on = 2027-01-01"},
         "matching.ends_on", "before starts_on"),
        ({"goal =": "ends_on = 2026-12-30\ngoal ="}, "matching.ends_on", "after the campaign's"),
        ({", ends_on = 2026-12-31": ""}, "matching", "the last day"),
    ],
)  # fmt: skip
def test_a_goal_that_makes_no_sense_is_named_in_a_file_and_in_the_form(
    changes: dict[str, str], field: str, says: str
) -> None:
    written = WRITTEN
    for before, after in changes.items():
        assert before in written
        written = written.replace(before, after)
    with pytest.raises(InvalidCampaign) as refused:
        campaign_parser.parse_file((HEAD + written).encode(), json=False, max_gift={})
    assert f"campaigns[0].{field}:" in refused.value.detail
    assert says in refused.value.detail


def test_the_form_takes_and_gives_back_what_the_file_says() -> None:
    (config,) = campaign_parser.parse_file((HEAD + WRITTEN).encode(), json=False, max_gift={})
    assert (config.goal, config.matching) == (GOAL, MATCHING)
    assert to_dict(config)["matching"]["percent"] == 100
    fields = campaign_form.fields_of_config(config, version=1)
    assert (fields["goal"], fields["ceiling"]) == ("eur: 100", "eur: 20")
    assert campaign_form.parse_config(fields, maximums={}) == config
    for name, typed in (
        ("goal", "100 eur"), ("ceiling", "eur: 5 10"), ("sponsor", "x" * 81),
        ("percent", "twice"), ("percent", "9" * 5000),
        ("matching_ends_on", ""), ("matching_starts_on", "2027-01-01"),
    ):  # fmt: skip
        with pytest.raises(InvalidCampaign) as refused:
            campaign_form.parse_config({**fields, name: typed}, maximums={})
        at = "matching_ends_on" if name == "matching_starts_on" else name
        assert campaign_form.field_of_error(refused.value, fields) == at
