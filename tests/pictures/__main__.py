"""Run the demo, take a picture of every page and mail, and write the sheets to docs/pictures."""

import asyncio
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from tests.pictures import sheet, tour
from tests.pictures.camera import Camera
from tests.support.browser import Site, open_browser

ROOT = Path(__file__).parents[2]
SHEETS = ROOT / "docs" / "pictures"
# Column, columns and tallest picture in pixels, by the sheet and the width of its pages.
LAYOUT = {320: (180, 10, 700), 1280: (384, 5, 700)}


@contextmanager
def running_demo() -> Iterator[str]:
    """Run a demo of its own. Yields what it prints when it is ready."""
    command = [sys.executable, "-m", "payments.cli", "demo", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            printed = ""
            while "Commands" not in printed:
                line = process.stdout.readline()
                assert line, "the demo has ended"
                printed += line
            yield printed
        finally:
            process.terminate()
            process.stdout.read()


async def take_pictures(printed: str, camera: Camera, only: tuple[str, ...]) -> None:
    """Go through all pages of a demo that runs."""
    (staff_link,) = re.findall(r"Finance.* (http\S+)", printed)
    url = staff_link.partition("/staff/")[0]
    demo = tour.Demo(url, staff_link, camera)
    async with open_browser() as browser:
        for part in tour.TOUR:
            if only and part.__name__ not in only:
                continue
            site = Site(None, url, browser)  # type: ignore[arg-type]  # which lives elsewhere
            async with site.visitor(locale="en-US") as visitor:
                await part(demo, visitor)
            camera.problems += site.page_errors


@click.command()
@click.option("--demo", help="a file that holds what a running demo printed; none runs without it")
@click.option("--keep", help="a folder for the single pictures", type=click.Path(path_type=Path))
@click.argument("only", nargs=-1)
def main(demo: str | None, keep: Path | None, only: tuple[str, ...]) -> None:
    """Write the sheets, or with names of parts of the tour those alone."""
    with tempfile.TemporaryDirectory() as folder:
        camera = Camera(keep or Path(folder))
        if demo:
            asyncio.run(take_pictures(Path(demo).read_text(), camera, only))
        else:
            with running_demo() as printed:
                asyncio.run(take_pictures(printed, camera, only))
        SHEETS.mkdir(exist_ok=True)
        for name, pictures in camera.taken.items():
            column, columns, tallest = LAYOUT[int(name.rpartition("-")[2])]
            file = SHEETS / f"{name}.webp"
            sheet.write(pictures, file, column=column, columns=columns, tallest=tallest)
            click.echo(f"{file.relative_to(ROOT)}: {len(pictures)}, {file.stat().st_size} bytes")
    if camera.problems:
        raise click.ClickException("\n".join(camera.problems))


if __name__ == "__main__":
    main()
