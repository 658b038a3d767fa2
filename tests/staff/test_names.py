"""No colleague can have a name that is taken for another's in the audit log."""

import pytest

from payments.core import lookalike_names
from payments.core.errors import InvalidField
from payments.staff import accounts
from payments.staff.accounts import Role
from tests.support.newsroom import Newsroom

pytestmark = pytest.mark.anyio
CYRILLIC_A, CYRILLIC_ADA = "\u0430", "\u0410\u0434\u0430"
FINE = (
    *("Ada", "Ada L\u00f6vel\u00e1ce-O'Neill", "Ada 2", "A. Lovelace (finance)", "Bj\u00f6rn"),
    *(CYRILLIC_ADA, "\u0410\u043d\u043d\u0430 \u041a.", "\u0391\u03bd\u03bd\u03b1"),
    *("\u5f20\u4f1f", "\u7530\u4e2d\u3055\u3093", "\u7530\u4e2d Ken", "\uae40\ucca0\uc218 Kim"),
    *("\u0645\u062d\u0645\u062f", "\u05d3\u05e0\u05d4", "\u0905\u092e\u093f\u0924"),
)
REFUSED = {
    "a Cyrillic letter": f"Ad{CYRILLIC_A}",
    "a Greek letter": "\u0391da",
    "two alphabets in two words": f"Ada {CYRILLIC_ADA}",
    "a zero-width space": "A\u200bda",
    "a soft hyphen": "Ad\u00ada",
    "a letter that is blank": "Ada\u3164",
    "a blank of Braille": "Ada\u2800",
    "a direction mark": "\u202eadA",
    "full width": "\uff21da",
    "a ligature": "\ufb01n",
    "a letter in two parts": "Bjo\u0308rn",
    "a mark on nothing": "\u0301Ada",
    "a tower of marks": "Ad\u0247\u0335\u0336\u0337\u0338",
    "digits of another alphabet": "Ada \u0663",
    "two blanks": "Ada  B",
    "a blank that does not break": "Ada\u00a0B",
    "mathematical letters": "\U0001d400da",
    "a picture": "Ada \U0001f600",
    "a selector": "Ada\ufe0f",
}


@pytest.mark.parametrize("name", FINE)
def test_a_name_of_one_writing_system_is_taken(name: str) -> None:
    assert accounts.validate_name(name) == name


@pytest.mark.parametrize("name", REFUSED.values(), ids=REFUSED)
def test_what_could_be_taken_for_another_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidField) as refused:
        accounts.validate_name(name)
    assert name not in refused.value.detail


@pytest.mark.parametrize("name", ["The Command Line", "S0mebody", "\u0455omebody"])
def test_nobody_is_named_as_who_has_no_name(name: str) -> None:
    with pytest.raises(InvalidField):
        accounts.validate_name(name)


async def test_nobody_new_is_named_like_a_colleague(newsroom: Newsroom) -> None:
    async with newsroom.ctx.sessions.begin() as session:
        for name in ("Ace 1", "Bea"):
            await accounts.invite(session, name, role=Role.FINANCE, now=newsroom.clock())
        for name in ("\u0410\u0441\u0435 1", "Ace l", "ACE I", "bea", "\u0412\u0435\u0430"):
            with pytest.raises(InvalidField) as refused:
                await accounts.invite(session, name, role=Role.ADMIN, now=newsroom.clock())
            assert refused.value.field == "name"
        await accounts.invite(session, "Bea", role=Role.FINANCE, now=newsroom.clock())  # anew
        await accounts.invite(session, "Ace 2", role=Role.ADMIN, now=newsroom.clock())
    assert await newsroom.count("staff") == 3
    assert lookalike_names.skeleton("Ace 1") != lookalike_names.skeleton("Ace 2")
