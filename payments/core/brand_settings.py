"""What donors see of who is writing to them: which mails they get, the newsroom's brand, receipts.

Part of the settings. Colours are checked when they are read: text must be legible on them.
"""

from enum import StrEnum
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from payments.core import brand_colors, i18n
from payments.core.brand_colors import MIN_CONTRAST
from payments.core.setting_types import CommaSeparated, TimeZoneName

DEFAULT_COLOR, DEFAULT_DARK_COLOR = "#0f4d45", "#8fd1c1"  # those of static/site.css
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_LOGO_BYTES = 64 * 1024  # it travels in every mail


class DonorMails(StrEnum):
    """Which mails about their payments donors get."""

    FULL = "full"  # in the newsroom's name: thanks and receipt after each payment, and all others
    NEUTRAL = "neutral"  # what has to be said, without a word of what for and for whom
    NONE = "none"  # only what somebody asks for: a link to sign in, a reminder


class ArticlePolicy(StrEnum):
    """What is stored of the article that a gift began from."""

    OFF = "off"  # nothing
    COUNTS = "counts"  # how many began from it, in tens, tied to no gift
    REVENUE = "revenue"  # the article with each gift, shown in sums of several donors


def _refuse_illegible(colour: str, contrast: float, nearest: str, ground: str) -> None:
    if contrast < MIN_CONTRAST:
        raise ValueError(
            f"text with {colour} has a contrast of {contrast:.2f} to 1 {ground}, and needs "
            f"{MIN_CONTRAST} to be legible: the nearest colour that has it is {nearest}"
        )


def _validate_colour(value: str) -> str:
    colour = value.lower()
    nearest = brand_colors.nearest_light(colour)
    _refuse_illegible(colour, brand_colors.light_contrast(colour), nearest, "in the light")
    return colour


def _validate_dark_colour(value: str) -> str:
    if not value:
        return value
    colour = value.lower()
    nearest = brand_colors.nearest_dark(colour)
    _refuse_illegible(colour, brand_colors.dark_contrast(colour), nearest, "in the dark")
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
Colour = Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")]
BrandColour = Annotated[Colour, AfterValidator(_validate_colour)]
DarkBrandColour = Annotated[
    str, Field(pattern=r"^(#[0-9a-fA-F]{6})?$"), AfterValidator(_validate_dark_colour)
]
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
    articles: ArticlePolicy = Field(
        ArticlePolicy.COUNTS,
        description="off, counts or revenue: what is stored of the article a gift began from; in "
        "tens, or with the gift. With a donor safety policy revenue is refused",
    )
    brand_color: BrandColour = Field(
        DEFAULT_COLOR,
        description="the colour of pages, widget, branded mails and receipts: text must be "
        "legible in it and on it",
    )
    brand_color_dark: DarkBrandColour = Field(
        "",
        description="the same where a reader's screen is dark; without it, the nearest colour "
        "that is legible there",
    )
    brand_logo: LogoFile = Field(
        "",
        description="a PNG of at most 64 KiB, for pages, branded mails and receipts. At least "
        "twice as wide as high it stands in place of the name",
    )
    brand_address: str = Field(
        "",
        max_length=300,
        description="the postal address below pages and branded mails, and on receipts",
    )
    brand_legal_line: str = Field(
        "", max_length=300, description="the line of the law below pages and branded mails"
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
    receipt_number_prefix: str = Field(
        "",
        pattern=r"^[A-Za-z0-9./-]{0,20}$",
        description="what is printed before the number of a receipt, such as NL-",
    )
    receipt_zone: OptionalZone = Field(
        "",
        description="IANA zone of the days and years on receipts, if not PAYMENTS_ACCOUNTING_ZONE",
    )

    @property
    def offered_locales(self) -> tuple[str, ...]:
        """The languages that readers may choose, the newsroom's own first."""
        return self.locales or i18n.SUPPORTED_LOCALES

    @property
    def has_own_colors(self) -> bool:
        """Whether the newsroom has chosen a colour."""
        return bool(self.brand_color_dark) or self.brand_color != DEFAULT_COLOR

    @property
    def dark_color(self) -> str:
        """The brand's colour where a screen is dark."""
        if not self.has_own_colors:
            return DEFAULT_DARK_COLOR
        return self.brand_color_dark or brand_colors.nearest_dark(self.brand_color)

    @property
    def brand_lines(self) -> tuple[str, ...]:
        """The lines below pages and branded mails."""
        return tuple(line for line in (self.brand_address, self.brand_legal_line) if line)

    @cached_property
    def brand_logo_png(self) -> bytes | None:
        """The logo's bytes; None where there is none."""
        return Path(self.brand_logo).read_bytes() if self.brand_logo else None
