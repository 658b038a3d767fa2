"""What donors see of who is writing to them: which mails they get, the newsroom's brand, receipts.

Part of the settings. Colours are checked when they are read: text must be legible on them.
"""

from enum import StrEnum
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from payments.core import i18n
from payments.core.setting_types import CommaSeparated, TimeZoneName

MIN_CONTRAST = 4.5  # of text: https://www.w3.org/TR/WCAG22/#contrast-minimum
WHITE = "#ffffff"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_LOGO_BYTES = 64 * 1024  # it travels in every mail


class DonorMails(StrEnum):
    """Which mails about their payments donors get."""

    FULL = "full"  # in the newsroom's name: thanks and receipt after each payment, and all others
    NEUTRAL = "neutral"  # what has to be said, without a word of what for and for whom
    NONE = "none"  # only what somebody asks for: a link to sign in, a reminder


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours (#rrggbb), from 1 to 21, as WCAG defines it."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = (
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in (red, green, blue)
    )
    return sum(part * share for part, share in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))


def _validate_colour(value: str) -> str:
    colour = value.lower()
    if contrast(colour, WHITE) < MIN_CONTRAST:
        raise ValueError(f"white on it is not legible: choose a darker one ({MIN_CONTRAST} to 1)")
    return colour


def _validate_logo(value: str) -> str:
    if not value:
        return value
    try:
        data = Path(value).read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read {value}: {type(error).__name__}") from None
    if not data.startswith(PNG_SIGNATURE) or len(data) > MAX_LOGO_BYTES:
        raise ValueError(f"must be a PNG of at most {MAX_LOGO_BYTES // 1024} KiB")
    from fpdf.image_parsing import get_img_info  # noqa: PLC0415 - large, and few have a logo

    try:
        get_img_info(BytesIO(data))
    except OSError as error:
        raise ValueError(f"cannot show {value}: {type(error).__name__}") from None
    return value


def _validate_locales(value: tuple[str, ...]) -> tuple[str, ...]:
    known = {i18n.language_tag(name).casefold(): name for name in i18n.SUPPORTED_LOCALES}
    named = [known.get(i18n.language_tag(one).casefold()) for one in value]
    locales = [one for one in named if one is not None]
    if len(locales) < len(value) or len(set(locales)) < len(locales):
        raise ValueError(f"must be some of {', '.join(known.values())}, each once")
    return tuple(locales)


Locales = Annotated[tuple[str, ...], CommaSeparated, AfterValidator(_validate_locales)]
BrandColour = Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$"), AfterValidator(_validate_colour)]
LogoFile = Annotated[str, AfterValidator(_validate_logo)]
OptionalZone = TimeZoneName | Annotated[str, Field(max_length=0)]


class BrandSettings(BaseModel):
    """The settings of donors' mails, of the brand and of receipts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    publication_name: str = Field(
        "The newsroom", min_length=1, max_length=80, description="the name that readers know"
    )
    support_contact: str = Field(
        "", max_length=200, description="an address or page where a reader finds help"
    )
    locales: Locales = Field(
        (),
        description="the languages that readers may choose, first the one for a reader who asks "
        "for none of them: ru,uk,en. Without it, every language that has a catalogue",
    )
    donor_mails: DonorMails = Field(
        DonorMails.NEUTRAL,
        description="full, neutral or none: which mails about payments donors get. With a donor "
        "safety policy full is refused",
    )
    brand_color: BrandColour = Field(
        "#1f3a5f", description="the colour of branded mails and receipts; white must be legible"
    )
    brand_logo: LogoFile = Field(
        "", description="a PNG of at most 64 KiB, for branded mails and receipts"
    )
    brand_address: str = Field(
        "", max_length=300, description="the postal address below branded mails and on receipts"
    )
    brand_legal_line: str = Field(
        "", max_length=300, description="the line of the law below branded mails"
    )
    receipt_entity: str = Field(
        "",
        max_length=200,
        description="the legal entity that receives payments, for receipts; else the name that "
        "readers know",
    )
    receipt_tax_line: str = Field(
        "", max_length=400, description="what receipts say about tax: a number, deductible or not"
    )
    receipt_zone: OptionalZone = Field(
        "",
        description="IANA zone of the days and years on receipts, if not PAYMENTS_ACCOUNTING_ZONE",
    )

    @property
    def offered_locales(self) -> tuple[str, ...]:
        """The languages that readers may choose, the newsroom's own first."""
        return self.locales or i18n.SUPPORTED_LOCALES

    @cached_property
    def brand_logo_png(self) -> bytes | None:
        """The logo's bytes; None where there is none."""
        return Path(self.brand_logo).read_bytes() if self.brand_logo else None
