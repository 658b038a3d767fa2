"""Half a newsletter is refused, by the name of the setting that is missing or wrong."""

from collections.abc import Callable
from pathlib import Path

import pytest

from payments.core import settings
from payments.core.settings import SettingsError
from tests.support.newsletter import POLICY, SECRET

WHOLE = {
    "newsletter_webhook_url": "https://mailing.lindenau.example/hook?for=us",
    "newsletter_webhook_secret": SECRET,
    "address_key_dir": "/var/lib/keys",
    "smtp_url": "smtp://localhost",
    "mail_from": "post@lindenau.example",
    **POLICY,
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"newsletter_webhook_url": "http://mailing.lindenau.example/hook"}, "must be https"),
        ({"newsletter_webhook_url": "ftp://mailing.lindenau.example"}, "http or https address"),
        ({"newsletter_webhook_url": "https://me:pw@mailing.example/"}, "without a password"),
        ({"newsletter_webhook_secret": "whsec_short"}, "24 to 64 bytes"),
        ({"newsletter_webhook_secret": ""}, "is blank"),
        ({"newsletter_file": "/var/lib/x.jsonl"}, "set one"),
        ({"newsletter_file": "x.jsonl", "newsletter_webhook_url": ""}, "whole path"),
        ({"privacy_version": ""}, "PAYMENTS_PRIVACY_VERSION: needed"),
        ({"privacy_url": ""}, "PAYMENTS_PRIVACY_URL: needed"),
        ({"address_key_dir": ""}, "PAYMENTS_ADDRESS_KEY_DIR: needed"),
    ],
)
def test_half_a_newsletter_is_refused_by_name(change: dict[str, str], message: str) -> None:
    needed = {
        "PAYMENTS_DATABASE_URL": "postgresql+psycopg://localhost/x",
        "PAYMENTS_BASE_URL": "https://support.lindenau.example",
        "PAYMENTS_STRIPE_API_KEY": "sk_test_" + "0" * 24,
    }
    environ: Callable[[dict[str, str]], dict[str, str]] = lambda more: {  # noqa: E731 - one use
        **needed,
        **{f"PAYMENTS_{name.upper()}": value for name, value in more.items()},
    }
    assert settings.load(environ(WHOLE)).newsletter_webhook_secret is not None
    with pytest.raises(SettingsError, match=message):
        settings.load(environ({**WHOLE, **change}))


def test_the_secret_may_lie_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(SECRET + "\n")
    given = {f"PAYMENTS_{name.upper()}": value for name, value in WHOLE.items()}
    del given["PAYMENTS_NEWSLETTER_WEBHOOK_SECRET"]
    read = settings.load(
        {
            **given,
            "PAYMENTS_NEWSLETTER_WEBHOOK_SECRET_FILE": str(path),
            "PAYMENTS_DATABASE_URL": "postgresql+psycopg://localhost/x",
            "PAYMENTS_BASE_URL": "https://support.lindenau.example",
            "PAYMENTS_STRIPE_API_KEY": "sk_test_" + "0" * 24,
        }
    )
    assert read.newsletter_webhook_secret is not None
    assert read.newsletter_webhook_secret.get_secret_value() == SECRET
    assert SECRET not in repr(read)
