"""A contact sheet: pictures in columns, each under its name."""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

GAP, CAPTION = 14, 20  # pixels
PAPER, INK, EDGE = "#e4e4e4", "#111111", "#999999"
QUALITY = 26  # of WebP, of 100


@dataclass(frozen=True)
class Picture:
    """A page as it looked, and its name."""

    name: str
    file: Path


def write(pictures: list[Picture], file: Path, *, column: int, columns: int, tallest: int) -> None:
    """Write pictures to a file, each as wide as a column; what is taller is cut."""
    shown = [(one.name, _scaled(one.file, column, tallest)) for one in pictures]
    tops = [GAP] * columns
    places = []
    for name, image in shown:
        index = tops.index(min(tops))
        places.append((name, image, GAP + index * (column + GAP), tops[index]))
        tops[index] += CAPTION + image.height + GAP
    sheet = Image.new("RGB", (GAP + columns * (column + GAP), max(tops)), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for name, image, left, top in places:
        draw.text((left, top + 2), name, fill=INK, font=font)
        sheet.paste(image, (left, top + CAPTION))
        box = (left - 1, top + CAPTION - 1, left + column, top + CAPTION + image.height)
        draw.rectangle(box, outline=EDGE)
    sheet.save(file, "WEBP", quality=QUALITY, method=6)


def _scaled(file: Path, width: int, tallest: int) -> Image.Image:
    with Image.open(file) as opened:
        image = opened.convert("RGB")
    height = round(image.height * width / image.width)
    image = image.resize((width, height), Image.Resampling.LANCZOS)
    return image.crop((0, 0, width, min(height, tallest)))
