"""An operator who sets something wrong reads which name and why, and never a secret."""

import re
import secrets
import shlex
from pathlib import Path

import pytest
from pydantic.fields import FieldInfo

from payments.core import settings
from payments.core.settings import Settings, SettingsError
from payments.web.app import create_app
from tests.support.secret_values import secret_named

ROOT = Path(__file__).parents[2]
KEY, HOOK, PASSWORD = (
    "sk_test_" + "k" * 24,
    "whsec_" + secret_named("webhooks"),
    "pass-word-of-ours",
)
MASTER, METRICS, MAIL_EVENTS = map(secret_named, ("keys", "metrics", "mail events"))
SIGNS = "whsec_" + "bmV3c2xldHRlcnMtYXJlLXNpZ25lZC1zby10aGVyZQ=="
SEAL = secret_named("seal")
CLIENT = "what-the-sign-in-service-gave"
RIGHT = {
    "PAYMENTS_DATABASE_URL": f"postgresql+psycopg://payments:{PASSWORD}@localhost/payments",
    "PAYMENTS_BASE_URL": "https://give.example.org",
    "PAYMENTS_STRIPE_API_KEY": KEY,
    "PAYMENTS_STRIPE_WEBHOOK_SECRETS": HOOK,
    "PAYMENTS_SECRET_KEYS": MASTER,
    "PAYMENTS_METRICS_TOKEN": METRICS,
    "PAYMENTS_MAIL_EVENTS_TOKEN": MAIL_EVENTS,
    "PAYMENTS_NEWSLETTER_WEBHOOK_SECRET": SIGNS,
    "PAYMENTS_CLOSE_PACK_SIGNING_KEY": SEAL,
    "PAYMENTS_OIDC_ISSUER": "https://login.example.org/realms/news",
    "PAYMENTS_OIDC_CLIENT_ID": "reader-payments",
    "PAYMENTS_OIDC_CLIENT_SECRET": CLIENT,
}
SECRET = (KEY, HOOK, PASSWORD, MASTER, METRICS, MAIL_EVENTS, SIGNS, SEAL, CLIENT)


def error_message(**wrong: str) -> str:
    """The error message about these settings."""
    changed = {f"PAYMENTS_{name.upper()}": value for name, value in wrong.items()}
    with pytest.raises(SettingsError) as refusal:
        settings.load({**RIGHT, **changed})
    message = str(refusal.value)
    assert refusal.value.__cause__ is None
    assert not any(secret in message for secret in SECRET)
    return message


def test_the_least_that_is_needed_is_enough() -> None:
    least = {name: RIGHT[name] for name in list(RIGHT)[:3]}
    made = settings.load({**least, "HOME": "/root", "PATH": "/bin"})
    assert made.stripe_api_base == "https://api.stripe.com"
    assert made.stripe_webhook_secrets == ()
    assert made.environment == "production"
    assert set(made.offered_locales) == {"en", "ru", "de", "fr", "es", "uk", "pl", "ar"}
    assert made.offered_locales[0] == "en"
    assert made.uses_https
    assert not made.livemode


def test_everything_an_operator_may_set_is_read() -> None:
    more = {
        "STRIPE_WEBHOOK_SECRETS": f"{HOOK}, {HOOK}2",
        "STRIPE_REQUESTS_PER_SECOND": "25",
        "PUBLICATION_NAME": "Новости",
        "SUPPORT_CONTACT": "mailto:help@example.org",
        "STATEMENT_DESCRIPTOR": "EXAMPLE MEDIA",
        "ACCOUNTING_ZONE": "Europe/Amsterdam",
        "DEFAULT_CURRENCY": "eur",
        "LOCALES": "UK, ru",
        "MAX_GIFT": "usd=500000, EUR = 450000,",
        "LOG_LEVEL": "warning",
        "BASE_URL": "http://localhost:8000/",
    }
    made = settings.load(RIGHT | {f"PAYMENTS_{name}": value for name, value in more.items()})
    assert made.webhook_signing_keys == (HOOK.encode(), f"{HOOK}2".encode())
    assert made.stripe_requests_per_second == 25
    assert made.offered_locales == ("uk", "ru")
    assert made.publication_name == "Новости"
    assert made.accounting_zoneinfo.key == "Europe/Amsterdam"
    assert made.max_gift == {"usd": 500000, "eur": 450000}
    assert made.base_url == "http://localhost:8000"
    assert not made.uses_https


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("database_url", f"mysql://payments:{PASSWORD}@localhost/payments"),
        ("database_url", ""),
        ("base_url", "give.example.org"),
        ("base_url", "http://give.example.org"),
        ("base_url", "https://give.example.org/donate"),
        ("base_url", "https://give.example.org?x=1"),
        ("base_url", "https://give.example.org#x"),
        ("base_url", "ftp://give.example.org"),
        ("base_url", "https://"),
        ("base_url", "https://[::1"),
        ("base_url", "https://user:word@give.example.org"),
        ("base_url", "https://give.example.org:port"),
        ("base_url", "https://give example.org"),
        ("base_url", "https://give.example.org; script-src *"),
        ("stripe_api_key", "pk_test_" + "k" * 24),
        ("stripe_api_key", KEY + " "),
        ("stripe_api_key", ""),
        ("stripe_webhook_secrets", "whsec_short"),
        ("stripe_webhook_secrets", f"{HOOK},{HOOK},{HOOK}"),
        ("stripe_webhook_secrets", KEY),
        ("secret_keys", "short"),
        ("secret_keys", f"{MASTER},short"),
        ("stripe_api_base", "http://stripe.example.org"),
        ("stripe_requests_per_second", "0"),
        ("stripe_requests_per_second", "101"),
        ("stripe_requests_per_second", "fast"),
        ("publication_name", ""),
        ("publication_name", "x" * 81),
        ("locales", "ru,tlh"),
        ("locales", "ru,en,ru"),
        ("locales", "ru en"),
        ("security_contact", "security@example.org"),
        ("security_contact", "mailto:us, them"),
        ("security_contact", "http://example.org/report"),
        ("statement_descriptor", "x" * 23),
        ("accounting_zone", "Amsterdam"),
        ("accounting_zone", "../../etc/passwd"),
        ("max_gift", "usd"),
        ("max_gift", "usd=much"),
        ("max_gift", "usd=5000.00"),
        ("max_gift", "usd=-5"),
        ("oidc_issuer", "login.example.org"),
        ("oidc_issuer", "http://login.example.org"),
        ("oidc_issuer", "https://login.example.org?realm=news"),
        ("oidc_issuer", "https://login.example.org/#news"),
        ("oidc_issuer", "https://user:word@login.example.org"),
        ("oidc_client_id", "two words"),
        ("oidc_client_id", "x" * 256),
        ("environment", "staging"),
        ("environment", "Production"),
        ("log_level", "loud"),
        ("log_level", "INFO"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_name(name: str, value: str) -> None:
    message = error_message(**{name: value})
    assert message.startswith(f"PAYMENTS_{name.upper()}: ")
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("name", ["DATABASE_URL", "BASE_URL", "STRIPE_API_KEY"])
def test_a_setting_that_is_missing_is_named(name: str) -> None:
    with pytest.raises(SettingsError, match=f"^PAYMENTS_{name}: Field required$"):
        settings.load({key: value for key, value in RIGHT.items() if key != f"PAYMENTS_{name}"})


def test_everything_wrong_is_reported_at_once() -> None:
    message = error_message(
        base_url="x", log_level="x", currrency="usd", stripe_api_key="x"
    ).splitlines()
    names = sorted(line.partition(":")[0].removeprefix("PAYMENTS_") for line in message)
    assert names == ["BASE_URL", "CURRRENCY", "LOG_LEVEL", "STRIPE_API_KEY"]


@pytest.mark.parametrize("name", ["STRIPE_KEY", "BASE_URL_FILE", "DATABASE", "", "SECRETS"])
def test_a_name_there_is_not_is_an_error(name: str) -> None:
    assert error_message(**{name: "x"}) == f"PAYMENTS_{name}: there is no such setting"


def test_a_live_key_is_never_sent_to_another_address() -> None:
    live = "sk_live_" + secret_named("live")[:24]
    message = error_message(stripe_api_key=live, stripe_api_base="https://stripe.example.org")
    assert message == "PAYMENTS_STRIPE_API_BASE may not be changed with a live key"
    assert settings.load({**RIGHT, "PAYMENTS_STRIPE_API_KEY": live}).livemode
    restricted = settings.load({**RIGHT, "PAYMENTS_STRIPE_API_KEY": "rk" + live[2:]})
    assert restricted.livemode


def test_a_sign_in_service_is_set_whole_or_not_at_all() -> None:
    names = ("OIDC_ISSUER", "OIDC_CLIENT_ID", "OIDC_CLIENT_SECRET")
    message = "PAYMENTS_%s: needed to sign in by OpenID Connect"
    for one in names:
        others = [f"PAYMENTS_{other}" for other in names if other != one]
        for missing in ([f"PAYMENTS_{one}"], others):
            given = {key: value for key, value in RIGHT.items() if key not in missing}
            with pytest.raises(SettingsError) as refusal:
                settings.load(given)
            assert str(refusal.value) == message.replace("PAYMENTS_%s", ", ".join(missing))
    none = {key: value for key, value in RIGHT.items() if "OIDC" not in key}
    assert settings.load(none).oidc_issuer == ""
    here = settings.load({**RIGHT, "PAYMENTS_OIDC_ISSUER": "http://localhost:9000/"})
    assert here.oidc_issuer == "http://localhost:9000/"


# --- what somebody could guess --------------------------------------------------------------------

WEAK = {
    "repeats itself": ["0" * 64, "k" * 40, "deadbeef" * 8, "password" * 2 + "1234567890" * 2],
    "can be guessed": ["abcdefghijklmnopqrstuvwxyz012345", "zyxwvutsrqponmlkjihgfedcba987654"],
    "is a placeholder": [
        "replace_me_with_64_hexadecimal_digits",
        "replace_me",
        "change-me-change-me-change-me-now",
        "<your 64 hexadecimal digits here>",
    ],
}
OURS = ("secret_keys", "metrics_token", "mail_events_token")


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("why", WEAK)
def test_a_secret_that_can_be_guessed_is_refused_by_its_name(name: str, why: str) -> None:
    for value in WEAK[why]:
        message = error_message(**{name: value})
        assert re.fullmatch(f"PAYMENTS_{name.upper()}: {why}.*", message), value
        assert value not in message


@pytest.mark.parametrize("name", settings.SECRET_SETTINGS)
def test_no_secret_is_set_to_nothing(name: str, tmp_path: Path) -> None:
    """An empty value is not the same as none: with it, a token would let in who sends none."""
    nothing = tmp_path / "nothing"
    nothing.write_text("\n")
    others = {key: value for key, value in RIGHT.items() if key != f"PAYMENTS_{name.upper()}"}
    for variable, value in (("", ""), ("", " " * 32), ("_FILE", str(nothing))):
        with pytest.raises(SettingsError, match=f"^PAYMENTS_{name.upper()}"):
            settings.require_serving_settings(
                settings.load({**others, f"PAYMENTS_{name.upper()}{variable}": value})
            )


def test_a_secret_has_one_purpose() -> None:
    assert error_message(mail_events_token=METRICS) == (
        "PAYMENTS_METRICS_TOKEN, PAYMENTS_MAIL_EVENTS_TOKEN: each needs a secret of its own"
    )
    assert "PAYMENTS_SECRET_KEYS, PAYMENTS_METRICS_TOKEN: each" in error_message(
        secret_keys=f"{MASTER},{METRICS}"
    )
    twice = error_message(secret_keys=f"{MASTER},{MASTER}")
    assert twice == "PAYMENTS_SECRET_KEYS: the same secret stands there twice"


def test_random_secrets_of_every_form_are_taken() -> None:
    """200 of each: one that is refused by chance would be refused at somebody's first start."""
    for _ in range(200):
        for key in (secrets.token_hex(32), secrets.token_urlsafe(32), secrets.token_hex(16)):
            settings.load(
                {**RIGHT, "PAYMENTS_SECRET_KEYS": key, "PAYMENTS_METRICS_TOKEN": key[::-1]}
            )


def test_every_placeholder_of_the_example_is_refused_by_its_name() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    given = dict(
        shlex.split(line)[0].partition("=")[::2] for line in lines if line.startswith("PAYMENTS_")
    )
    commented = dict(
        line.removeprefix("# ").partition("=")[::2]
        for line in lines
        if line.startswith("# PAYMENTS_") and "replace_me" in line
    )
    left = {name for name, value in (given | commented).items() if "replace_me" in value}
    assert left >= {f"PAYMENTS_{name}" for name in ("SECRET_KEYS", "STRIPE_API_KEY", "SMTP_URL")}
    with pytest.raises(SettingsError) as refusal:
        settings.load(given | commented | {"PAYMENTS_DONOR_SAFETY_POLICY": ""})
    named = {line.partition(":")[0] for line in str(refusal.value).splitlines()}
    assert named == left


# --- from files -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", settings.SECRET_SETTINGS)
def test_a_secret_may_come_from_a_file(name: str, tmp_path: Path) -> None:
    smtp = f"smtp://payments:{PASSWORD}@mail.example.org:587"
    key, value = f"PAYMENTS_{name.upper()}", {**RIGHT, "PAYMENTS_SMTP_URL": smtp}
    secret_file = tmp_path / "secret"
    secret_file.write_text(f"{value[key]}\n")
    others = {other: text for other, text in RIGHT.items() if other != key}
    made = settings.load({**others, f"{key}_FILE": str(secret_file)})
    assert made == settings.load({**others, key: value[key]})


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    others = {key: value for key, value in RIGHT.items() if key != "PAYMENTS_STRIPE_API_KEY"}
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff" + KEY.encode())
    for path, why in (
        (tmp_path / "none", "FileNotFoundError"),
        (tmp_path, "IsADirectoryError"),
        (binary, "UnicodeDecodeError"),
    ):
        with pytest.raises(SettingsError) as refusal:
            settings.load({**others, "PAYMENTS_STRIPE_API_KEY_FILE": str(path)})
        first = str(refusal.value).splitlines()[0]
        assert first == f"PAYMENTS_STRIPE_API_KEY_FILE: {why}: cannot read {path}"
        assert KEY not in str(refusal.value)


def test_a_secret_given_twice_is_refused(tmp_path: Path) -> None:
    secret_file = tmp_path / "secret"
    secret_file.write_text("sk_test_" + "z" * 24)
    message = error_message(stripe_api_key_file=str(secret_file))
    assert message.startswith("PAYMENTS_STRIPE_API_KEY_FILE: ")
    assert "z" * 24 not in message


def test_the_secret_in_a_file_is_held_to_the_same_rules(tmp_path: Path) -> None:
    secret_file = tmp_path / "secret"
    secret_file.write_text("pk_test_" + "z" * 24)
    others = {key: value for key, value in RIGHT.items() if key != "PAYMENTS_STRIPE_API_KEY"}
    with pytest.raises(SettingsError, match=r"^PAYMENTS_STRIPE_API_KEY: must be") as refusal:
        settings.load({**others, "PAYMENTS_STRIPE_API_KEY_FILE": str(secret_file)})
    assert "z" * 24 not in str(refusal.value)


# --- the reference --------------------------------------------------------------------------------


def reference_row(name: str, field: FieldInfo) -> str:
    """A setting's line of the table in docs/settings.md."""
    secret = " *secret*" if name in settings.SECRET_SETTINGS else ""
    value = field.default
    if isinstance(value, tuple | list):
        value = ", ".join(map(str, value))
    default = "required" if field.is_required() else f"`{value}`" if value else "none"
    return f"| `PAYMENTS_{name.upper()}`{secret} | {default} | {field.description} |"


def test_every_setting_has_a_description_and_its_line_in_the_reference() -> None:
    assert all(field.description for field in Settings.model_fields.values())
    expected = [reference_row(name, field) for name, field in Settings.model_fields.items()]
    rows = (ROOT / "docs" / "settings.md").read_text().splitlines()
    assert [row for row in rows if row.startswith("| `PAYMENTS_")] == expected


def test_a_secret_is_what_the_type_says_and_nothing_else() -> None:
    made = settings.load(RIGHT | {"PAYMENTS_SMTP_URL": "smtp://localhost"})
    masked = {name for name, value in made if "**" in str(value)}
    assert masked == set(settings.SECRET_SETTINGS)


# --- what is printed ------------------------------------------------------------------------------


def test_no_secret_is_in_the_settings_as_text() -> None:
    made = settings.load(RIGHT)
    for printed in (repr(made), str(made), str(made.model_dump()), str(list(made)), f"{made!r:>9}"):
        assert not any(secret in printed for secret in SECRET)
        assert "give.example.org" in printed


def test_settings_do_not_change_while_a_process_lives() -> None:
    made = settings.load(RIGHT)
    with pytest.raises(ValueError, match="frozen"):
        made.log_level = "debug"
    with pytest.raises(ValueError, match="forbidden"):
        Settings.model_validate({**made.model_dump(), "unknown": 1})


# --- serving --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["STRIPE_WEBHOOK_SECRETS", "SECRET_KEYS"])
def test_without_its_keys_nothing_is_served(name: str) -> None:
    made = settings.load({key: RIGHT[key] for key in RIGHT if key != f"PAYMENTS_{name}"})
    with pytest.raises(SettingsError, match=f"^PAYMENTS_{name}: needed to serve"):
        create_app(made)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEFAULT_CURRENCY", "xyz"),
        ("DEFAULT_CURRENCY", "USD"),
        ("MAX_GIFT", "xyz=500000"),
        ("MAX_GIFT", "usd=199"),
        ("MAX_GIFT", "kwd=0"),
    ],
)
def test_what_no_reader_could_give_is_not_served(name: str, value: str) -> None:
    made = settings.load({**RIGHT, f"PAYMENTS_{name}": value})
    with pytest.raises(SettingsError, match=f"PAYMENTS_{name}"):
        create_app(made)
