"""One mailbox has one normal form, however its owner types it, and what is no address has none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payments.core.email import normalise_email
from payments.core.errors import InvalidField


@pytest.mark.parametrize(
    "typed",
    [
        "reader@example.org",
        " Reader@EXAMPLE.org\n",
        "\uff52\uff45\uff41\uff44\uff45\uff52@example.org",  # full width
        "rea\u00adder@example.org",
        "\u200breader@example.org\u2060",
        "reader@example\u3002org",  # an ideographic full stop
    ],
)
def test_one_mailbox_is_found_however_it_is_typed(typed: str) -> None:
    assert normalise_email(typed) == "reader@example.org"


def test_a_domain_of_any_script_is_written_as_mail_servers_know_it() -> None:
    assert normalise_email("leser@BÜCHER.example") == "leser@xn--bcher-kva.example"
    assert normalise_email("leser@xn--bcher-kva.example") == "leser@xn--bcher-kva.example"
    assert normalise_email("müller@example.org") == "müller@example.org"


@pytest.mark.parametrize(
    ("typed", "normal"),
    [
        ("reader@gro\u00df.example", "reader@xn--gro-7ka.example"),
        ("reader@\u03b1\u03c2.example", "reader@xn--mxa8a.example"),
        ("reader@\u0646\u0627\u0645\u200c\u0647.example", "reader@xn--mgb4dbg8904a.example"),
        ("wei\u00df@example.org", "wei\u00df@example.org"),
        ("wei\u017fs@example.org", "wei\u017fs@example.org"),  # a long s
        ("\ufb01ona@example.org", "\ufb01ona@example.org"),  # a ligature
        ("reader\u00b2@example.org", "reader\u00b2@example.org"),
    ],
)
def test_two_domains_or_names_never_become_one(typed: str, normal: str) -> None:
    assert normalise_email(typed) == normal


@pytest.mark.parametrize("other", ["rea.der@example.org", "reader+news@example.org"])
def test_what_only_a_provider_can_know_is_left_as_it_is(other: str) -> None:
    assert normalise_email(other) == other


@pytest.mark.parametrize(
    "typed",
    [
        *("", "@", "reader", "reader@", "@example.org", "a@b@example.org", "reader@-example.org"),
        *("rea der@example.org", "reader@exam ple.org", "reader@example.org\r\nBcc: a@example.org"),
        *("a" * 65 + "@example.org", "reader@" + "a" * 64 + ".org", "a@" + "b." * 130 + "org"),
    ],
)
def test_what_is_no_address_is_refused_and_not_repeated(typed: str) -> None:
    with pytest.raises(InvalidField) as refused:
        normalise_email(typed)
    assert (refused.value.field, refused.value.detail) == (
        "address",
        "Please check the e-mail address.",
    )


@given(st.text(max_size=40) | st.emails())
def test_the_normal_form_is_its_own_normal_form(typed: str) -> None:
    try:
        normal = normalise_email(typed)
    except InvalidField:
        return
    assert normalise_email(normal) == normal
