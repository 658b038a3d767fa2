"""Registers every mapped class, so that a schema comparison misses no table.

A class is registered when its module is imported. The modules are found by walking the packages,
not by a list; the packages that define no tables are left out, because they are slow to import.
"""

import importlib
import pkgutil

import payments
import webhooks

WITHOUT_TABLES = ("payments.cli", "payments.ops", "payments.sandbox", "payments.web")


def load_all() -> None:
    """Import every module that may define a table."""
    for package in (payments, webhooks):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.startswith((*WITHOUT_TABLES, "webhooks.routes")):
                importlib.import_module(module.name)
