"""No form tells a donor from a stranger: not by its answer, nor by what it makes us do."""

from pathlib import Path

import pytest

from tests.support.donor import open_donor_browser
from tests.support.newsroom import open_newsroom
from tests.support.onlooker import PUBLIC_FORMS, send
from tests.support.secret_values import secret_named

pytestmark = pytest.mark.anyio


async def test_every_form_answers_and_does_the_same_for_a_donor_and_a_stranger(
    database: str, tmp_path: Path
) -> None:
    more = {
        "address_key_dir": str(tmp_path),
        "newsletter_file": str(tmp_path / "addresses"),
        "privacy_url": "https://news.example/privacy",
        "privacy_version": "1",
        # also while donors are known by a key that was replaced
        "secret_keys": f"{secret_named('newest')},{secret_named('keys')}",
    }
    async with open_newsroom(database, **more) as room:
        async with open_donor_browser(room, "donor@example.org") as donor:
            await donor.gives(500)
        for path in PUBLIC_FORMS:
            await send(room, path, "first@example.org")  # what is prepared once
            await room.runs_due_jobs()
            of_donor, _ = await send(room, path, "donor@example.org")
            await room.runs_due_jobs()
            of_stranger, _ = await send(room, path, "whoever@example.org")
            assert of_donor == of_stranger, path
            assert of_donor.status in (200, 202, 303), (path, of_donor.content)
            assert sum(of_donor.rows.values()) > 0, path
            assert not any("donors" in one for one in of_donor.statements), path
