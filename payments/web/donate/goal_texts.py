"""What is said of a campaign's goal and matching, ready to print, on a page and in the widget."""

from dataclasses import dataclass
from typing import Any

from babel.numbers import format_percent

from payments.core import campaign_goal, i18n, money
from payments.core.campaign_goal import Matching, PublicGoal
from payments.core.i18n import gettext_noop
from payments.core.money import Money

GOAL = gettext_noop("Our goal is %(goal)s.")
GOAL_BY_DAY = gettext_noop("Our goal is %(goal)s by %(day)s.")
AT_LEAST = gettext_noop("At least %(percent)s of it has been given so far.")
REACHED = gettext_noop("We have reached it. Thank you!")
MATCHING = gettext_noop(
    "For every %(given)s you give by %(day)s, %(sponsor)s adds %(added)s, up to %(ceiling)s in "
    "total."
)
COUNTING = gettext_noop(
    "Only gifts in %(currency)s count towards this. The total is updated once a day, in steps of "
    "10%%."
)
ONLY_MATCHED = gettext_noop("Only gifts in %(currency)s are matched.")
ONLY_COUNTED = gettext_noop("Only gifts in %(currency)s count towards this.")


@dataclass(frozen=True, slots=True)
class GoalView:
    """Sentences, each empty where there is nothing to say. `step` is of ten, 0 for no bar."""

    goal: str
    step: int
    steps: int
    matching: str
    small_print: str


def goal_view(public: PublicGoal | None, locale: str) -> GoalView | None:
    """Return what is said in a language; None where nothing is."""
    if public is None:
        return None
    currency = public.currency.upper()
    return GoalView(
        goal="" if public.goal is None else _goal(public, locale),
        step=public.step or 0,
        steps=campaign_goal.STEPS,
        matching="" if public.matching is None else _matching(public.matching, locale),
        small_print=_say(_small_print(public), locale, currency=currency),
    )


def goal_nodes(public: PublicGoal | None, locale: str) -> list[list[Any]]:
    """Return the same as the widget's script builds it."""
    view = goal_view(public, locale)
    if view is None:
        return []
    bar = {"max": str(view.steps), "value": str(view.step), "aria-hidden": "true"}
    return [
        *([["p", {}, view.goal]] if view.goal else []),
        *([["progress", bar]] if view.step else []),
        *([["p", {}, ["strong", {}, view.matching]]] if view.matching else []),
        ["p", {"class": "quiet"}, view.small_print],
    ]


def _goal(public: PublicGoal, locale: str) -> str:
    assert public.goal is not None
    goal = _format(public.goal.money, locale)
    if public.ends_on is None:
        said = _say(GOAL, locale, goal=goal)
    else:
        said = _say(GOAL_BY_DAY, locale, goal=goal, day=i18n.format_day(public.ends_on, locale))
    if public.step is None:
        return said
    if public.step == campaign_goal.STEPS:
        return f"{said} {_say(REACHED, locale)}"
    percent = format_percent(public.step / campaign_goal.STEPS, locale=money.babel_locale(locale))
    return f"{said} {_say(AT_LEAST, locale, percent=percent)}"


def _matching(matching: Matching, locale: str) -> str:
    given, added = matching.example()
    return _say(
        MATCHING,
        locale,
        given=_format(given, locale),
        day=i18n.format_day(matching.ends_on, locale),
        sponsor=matching.sponsor,
        added=_format(added, locale),
        ceiling=_format(Money(matching.ceiling, matching.currency), locale),
    )


def _small_print(public: PublicGoal) -> str:
    if public.goal is None:
        return ONLY_MATCHED
    return ONLY_COUNTED if public.step is None else COUNTING


def _format(amount: Money, locale: str) -> str:
    return money.format(amount, locale, short=True)


def _say(text: str, locale: str, **params: str) -> str:
    """Return a sentence; what is filled in cannot turn the direction of what is around it."""
    isolated = {name: money.isolate(param) for name, param in params.items()}
    return i18n.translations(locale).gettext(text) % isolated
