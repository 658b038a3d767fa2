"""Names of people that could be taken for somebody else's: refused where they are given.

A name is in one writing system, or in those that Japanese, Chinese or Korean mix with Latin: the
level "highly restrictive" of UTS 39. Python knows no scripts: the first word of a letter's own name
says it (`CYRILLIC SMALL LETTER A`). What nobody sees, and what is another spelling of a letter, as
in full width or a ligature, is refused. Names that look alike have one skeleton.
"""

import re
import unicodedata

EAST_ASIAN = (
    frozenset({"LATIN", "CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "IDEOGRAPHIC"}),
    frozenset({"LATIN", "CJK", "BOPOMOFO"}),
    frozenset({"LATIN", "CJK", "HANGUL"}),
)
PUNCTUATION = frozenset(" -.,'&()\N{RIGHT SINGLE QUOTATION MARK}\N{MIDDLE DOT}")
# Words in the names of letters and marks that are not seen.
INVISIBLE = re.compile("FILLER|SELECTOR|JOINER|INHERENT")
MAX_MARKS = 2  # on one letter
# Letters of Cyrillic and Greek, then of Latin itself, that look like Latin ones.
LOOKALIKES = {
    ord(letter): latin
    for letters, latins in (
        (
            "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u0501\u051b",
            "aeopcyxijsdq",
        ),
        (
            "\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0423\u0425",
            "ABEKMHOPCTYX",
        ),
        (
            "\u0406\u0408\u0405\u04ae\u050c\u0391\u0392\u0395\u0396\u0397\u0399\u039a",
            "IJSYGABEZHIK",
        ),
        (
            "\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7\u03bf\u03b1\u03bd\u03c1\u03b9",
            "MNOPTYXoavpi",
        ),
        ("01I|", "olll"),
    )
    for letter, latin in zip(letters, latins, strict=True)
}


def problem(name: str) -> str | None:
    """Return why a name could be taken for another, else None."""
    if unicodedata.normalize("NFKC", name) != name or not all(map(_is_plain, name)):
        return "A name has letters, digits and spaces, and none that are invisible or special."
    if _has_too_many_marks(name) or "  " in name:
        return "A name has letters, digits and spaces, and none that are invisible or special."
    scripts = {_script(letter) for letter in name if unicodedata.category(letter)[0] == "L"}
    if len(scripts) > 1 and not any(scripts <= mixed for mixed in EAST_ASIAN):
        return "The letters of a name are all of one alphabet: some of these only look alike."
    return None


def skeleton(name: str) -> str:
    """Return what two names that look alike have in common. It is no name itself."""
    return name.translate(LOOKALIKES).casefold().translate(LOOKALIKES)


def _is_plain(letter: str) -> bool:
    """Whether a name may hold a letter: none that stands for a blank, and no digits but ours."""
    if letter.isascii():
        return letter.isalnum() or letter in PUNCTUATION
    if unicodedata.category(letter) not in ("Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc"):
        return letter in PUNCTUATION
    return not INVISIBLE.search(unicodedata.name(letter, "FILLER"))


def _has_too_many_marks(name: str) -> bool:
    """Whether marks stand on no letter, or so many on one that they reach into other lines."""
    marks = MAX_MARKS
    for letter in name:
        if unicodedata.category(letter)[0] != "M":
            marks = 0 if unicodedata.category(letter)[0] == "L" else MAX_MARKS
        elif (marks := marks + 1) > MAX_MARKS:
            return True
    return False


def _script(letter: str) -> str:
    return unicodedata.name(letter).partition(" ")[0]
