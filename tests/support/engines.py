"""A reader in one of the engines that this machine has."""

from dataclasses import dataclass

from playwright.async_api import Page

from tests.support.browser import Site


@dataclass
class Reader:
    """A reader's page at a newsroom."""

    site: Site
    page: Page
    scripts: bool
