"""Person names as keys: what is left of a PN value (PS3.5 6.2) when case, accents and padding do not count.

A name has up to three component groups, alphabetic=ideographic=phonetic, each of up to five components,
family^given^middle^prefix^suffix.
"""

from __future__ import annotations

import unicodedata

#: Letters that Unicode does not take apart into a base letter and a mark.
_LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i", "ħ": "h", "ŧ": "t"}
)


#: Characters of one group's key; PS3.5 6.2 ends a group at 64, what is longer is cut so that indexes hold it.
KEY_LIMIT = 256


def fold(text: str) -> str:
    """`text` without case and accents: 'Müller' and 'MULLER' are one. Kana keep their voicing marks apart
    from letters only in so far as Unicode does: 'が' stays 'が'.

    >>> fold("Łukasz Çelik")
    'lukasz celik'
    """
    if text.isascii():
        return text.lower()
    apart = unicodedata.normalize("NFKD", text).casefold()
    # Marks U+0300..U+036F are accents; others (Japanese voicing, Arabic and Hebrew vowels) make other words.
    bare = "".join(c for c in apart if not "\u0300" <= c <= "\u036f").translate(_LETTERS)
    # What remains is composed again, so that equal names are equal text.
    return unicodedata.normalize("NFC", bare)


def group_key(group: str) -> str:
    """The key of one component group: folded, each component's spaces trimmed and collapsed, trailing '^' and
    empty components at the end left out."""
    folded = fold(group)
    if " " in folded or "\u3000" in folded:
        folded = "^".join([" ".join(part.split()) for part in folded.split("^")])
    return folded[:KEY_LIMIT].rstrip("^ ")


def name_key(name: str) -> str:
    """The key of the alphabetic group: what the column study.referring_key holds.

    >>> name_key("Buc^Jérôme=布克^热罗姆")
    'buc^jerome'
    """
    equals = name.find("=")
    return group_key(name if equals < 0 else name[:equals])


def group_keys(name: str) -> tuple[str, str, str]:
    """The keys of the alphabetic, ideographic and phonetic group, '' for a group that is not there: what the
    columns patient.name_key, ideographic_key and phonetic_key hold."""
    if "=" not in name:
        return group_key(name), "", ""
    groups = [group_key(group) for group in name.split("=")[:3]]
    return groups[0], groups[1], groups[2] if len(groups) > 2 else ""


_SOUNDS = (
    ("sch", "s"),
    ("ph", "f"),
    ("th", "t"),
    ("gh", "g"),
    ("ck", "k"),
    ("tz", "s"),
    ("ts", "s"),
    ("cz", "s"),
)
_CLASS = {
    **dict.fromkeys("bp", "P"),
    **dict.fromkeys("fvw", "F"),
    **dict.fromkeys("cgkqx", "K"),
    **dict.fromkeys("sz", "S"),
    **dict.fromkeys("dt", "T"),
    **dict.fromkeys("mn", "N"),
    "l": "L",
    "r": "R",
    "j": "J",
}
_SOUND_LENGTH = 6
_VOWELS = "aeiouyh"


def sound(word: str) -> str:
    """How one folded word sounds, roughly: its consonants by class, vowels only where it begins with one.
    Words that are not of the letters a to z sound like themselves.

    >>> sound("schmidt"), sound("smith"), sound("maier"), sound("meyer")
    ('SNT', 'SNT', 'NR', 'NR')
    """
    letters = "".join([c for c in word if c.isalnum()])
    if not (letters.isascii() and letters.isalpha()):
        return letters
    for spelling, simple in _SOUNDS:
        letters = letters.replace(spelling, simple)
    code = "J" if letters[0] == "y" else "A" if letters[0] in "aeiou" else ""
    previous = code
    for at, letter in enumerate(letters):
        if letter in _VOWELS or (letter == "w" and at and letters[at - 1] in _VOWELS):
            previous = "" if letter != "h" else previous
            continue
        kind = _CLASS[letter]
        if letter == "c" and letters[at + 1 : at + 2] in ("e", "i", "y"):
            kind = "S"
        if kind != previous:
            code += kind
        previous = kind
    return code[:_SOUND_LENGTH] or letters


def words(key: str) -> list[str]:
    """The words of a folded key, whatever stands between them."""
    return "".join([c if c.isalnum() or c in "*?" else " " for c in key]).split()


def name_sounds(name: str) -> str:
    """The sounds of all words of all groups, each between spaces: what the column patient.sounds holds. A
    name can only match a fuzzy key if the sound of each word of the key is in it.

    >>> name_sounds("Schmidt^Jörg")
    ' SNT JRK '
    """
    found = dict.fromkeys(sound(word) for group in group_keys(name) for word in words(group))
    found.pop("", None)
    return f" {' '.join(found)} " if found else ""
