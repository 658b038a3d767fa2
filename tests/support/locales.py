"""The languages that tests go the whole way in: newsrooms, and browsers.

Every other catalogue is checked where its texts are: each text (tests/web/test_translations.py) and
each mail (tests/mail/test_render.py).
"""

from payments.core import i18n

NEWSROOM_LOCALES = tuple(one for one in ("en", "ru", "ar") if one in i18n.SUPPORTED_LOCALES)
BROWSER_LOCALES = ("en", "ru")
BOTH_DIRECTIONS = ("en", "ar")  # where every page is looked at
