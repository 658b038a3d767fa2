"""Copy an account with dj-stripe's own command, then count its rows by model, as JSON.

Runs in dj-stripe's environment: `copy_with_djstripe.py <sandbox> [<model> …]`.
"""

import json
import sys
from collections import Counter

import django
from django.apps import apps
from django.conf import settings
from django.core.management import call_command

# It always asks api.stripe.com, whatever address it is given: dj-stripe 2.11, `_v2_accounts`.
NOT_REDIRECTABLE = "AccountV2"


def main(sandbox: str, *only: str) -> None:
    """Migrate an empty database in memory, copy everything, print the counts."""
    settings.configure(
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "djstripe"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        USE_TZ=True,
        SECRET_KEY="interop",
        STRIPE_TEST_SECRET_KEY="sk_test_" + "0" * 24,
        STRIPE_LIVE_MODE=False,
        STRIPE_API_HOST=sandbox,
        STRIPE_API_VERSION="2026-10-28.endive",
        DJSTRIPE_FOREIGN_KEY_TO_FIELD="id",
    )
    django.setup()
    call_command("migrate", verbosity=0)
    models = list(apps.get_app_config("djstripe").get_models())
    names = only or [each.__name__ for each in models if each.__name__ != NOT_REDIRECTABLE]
    call_command("djstripe_sync_models", *names, api_keys=[], fail_on_error=False)
    counts: Counter[str] = Counter()  # two models have the invoices
    for each in models:
        name = getattr(getattr(each, "stripe_class", None), "OBJECT_NAME", None)
        if name is not None and each.__name__ != NOT_REDIRECTABLE:
            counts[name] += each._default_manager.count()
    sys.stdout.write(f"COUNTS {json.dumps(counts)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
