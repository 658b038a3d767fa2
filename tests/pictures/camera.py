"""Take pictures of a page at the width of a small telephone and of a desk's screen."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from playwright.async_api import Page

from tests.pictures.sheet import Picture
from tests.support.browser import overflow, settle

WIDTHS = {320: 640, 1280: 800}  # and heights
MAX_HEIGHT = 20_000  # of a page, in pixels


@dataclass
class Camera:
    """What has been taken, by sheet, and what was seen to be wrong."""

    folder: Path
    taken: dict[str, list[Picture]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    async def take(
        self, page: Page, sheet: str, name: str, *, widths: tuple[int, ...] = tuple(WIDTHS),
        lights: tuple[str, ...] = ("light",),
    ) -> None:  # fmt: skip
        """Take a page's picture for a sheet, at each width and in each light."""
        for width in widths:
            await page.set_viewport_size({"width": width, "height": WIDTHS[width]})
            for light in lights:
                await page.emulate_media(color_scheme="dark" if light == "dark" else "light")
                await settle(page)
                if wider := await overflow(page):
                    self.problems.append(f"{name} is {wider} px wider than {width} px")
                file = self.folder / f"{sheet}-{name}-{width}-{light}.png".replace(" ", "_")
                height = await page.evaluate("document.documentElement.scrollHeight")
                await asyncio.wait_for(
                    page.screenshot(path=file, full_page=height <= MAX_HEIGHT), timeout=60
                )
                title = name if light == "light" else f"{name}, {light}"
                self.taken.setdefault(f"{sheet}-{width}", []).append(Picture(title, file))
        await page.emulate_media(color_scheme="light")
