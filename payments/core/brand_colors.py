"""The colours that follow from a brand's colour, each legible on what it stands on, in both lights.

Contrast is WCAG 2.2's (https://www.w3.org/TR/WCAG22/#contrast-minimum). Colours are #rrggbb.
"""

from collections.abc import Iterator
from dataclasses import dataclass

MIN_CONTRAST = 4.5  # of text
STEPS = 64  # from a colour to black or to white, in the search for the nearest that passes
BLACK, WHITE = "#000000", "#ffffff"
WIDGET_DARK_TEXT = "#0b211c"  # on the colour, in the widget where it is dark
# What pages, widget and mails are on (static/site.css, widget/donate-form.js, mail/brand.py).
LIGHT_GROUNDS = ("#ffffff", "#fbf9f4")
DARK_GROUNDS = ("#161614", "#1e1e1b", "#1d2023")


@dataclass(frozen=True, slots=True)
class Palette:
    """A colour for links and buttons in one light, and what goes with it."""

    accent: str
    deep: str  # under the pointer
    on_accent: str  # text on it
    tint: str  # a ground for links and text

    def as_text(self) -> str:
        """Return the declarations of a style sheet."""
        pairs = (
            ("accent", self.accent),
            ("deep", self.deep),
            ("on-accent", self.on_accent),
            ("tint", self.tint),
        )
        return " ".join(f"--{name}: {colour};" for name, colour in pairs)


def light(colour: str) -> Palette:
    """Return the palette of a colour where the ground is light."""
    return Palette(colour, mix(colour, BLACK, 0.25), WHITE, mix(colour, LIGHT_GROUNDS[-1], 0.92))


def dark(colour: str) -> Palette:
    """Return the palette of a colour where the ground is dark."""
    return Palette(
        colour,
        mix(colour, WHITE, 0.4),
        mix(colour, BLACK, 0.85),
        mix(colour, DARK_GROUNDS[0], 0.88),
    )


def least_contrast(palette: Palette, grounds: tuple[str, ...]) -> float:
    """Return the worst contrast of all that is text in a palette."""
    return min(
        contrast(palette.on_accent, palette.accent),
        contrast(palette.on_accent, palette.deep),
        *(contrast(palette.accent, ground) for ground in (*grounds, palette.tint)),
        *(contrast(palette.deep, ground) for ground in (*grounds, palette.tint)),
    )


def light_contrast(colour: str) -> float:
    """Return the worst contrast of a colour where the ground is light."""
    return least_contrast(light(colour), LIGHT_GROUNDS)


def dark_contrast(colour: str) -> float:
    """Return the worst contrast of a colour where the ground is dark."""
    return min(least_contrast(dark(colour), DARK_GROUNDS), contrast(WIDGET_DARK_TEXT, colour))


def nearest_light(colour: str) -> str:
    """Return the colour itself, or the nearest one that is dark enough for a light ground."""
    return next(one for one in _towards(colour, BLACK) if light_contrast(one) >= MIN_CONTRAST)


def nearest_dark(colour: str) -> str:
    """Return the colour itself, or the nearest one that is light enough for a dark ground."""
    return next(one for one in _towards(colour, WHITE) if dark_contrast(one) >= MIN_CONTRAST)


def _towards(colour: str, end: str) -> Iterator[str]:
    return (mix(colour, end, step / STEPS) for step in range(STEPS + 1))


def mix(colour: str, other: str, share: float) -> str:
    """Return a colour with a share, 0 to 1, of another."""
    parts = zip(_channels(colour), _channels(other), strict=True)
    return "#" + "".join(f"{round(one + (two - one) * share):02x}" for one, two in parts)


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, from 1 to 21, as WCAG defines it."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _luminance(colour: str) -> float:
    red, green, blue = (
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in (channel / 255 for channel in _channels(colour))
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
