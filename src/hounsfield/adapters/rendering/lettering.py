"""Text drawn into images: annotations over the pixels (PS3.18 8.3.5.1.1), and cards that say in words what an
object is that shows no picture.

The font is the one that Pillow brings, of ASCII letters. Another Latin letter loses its accents, or becomes
the letters that stand for it; what is of another script is shown as boxes: a reader sees that something is
missing, and nothing is guessed.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Corner = Literal["top left", "top right", "bottom left"]

#: Height of letters: a part of the image's shorter side, within bounds in pixels.
_SHARE, _LEAST, _MOST = 34, 9, 96
#: Letters of one line.
_LONGEST = 120
_BOX, _MORE = "□", "…"
#: Latin letters that are not one with an accent.
_LATIN = {
    "Ø": "O", "ø": "o", "Ð": "D", "ð": "d", "Đ": "D", "đ": "d", "Ł": "L", "ł": "l",
    "Þ": "Th", "þ": "th", "Æ": "AE", "æ": "ae", "Œ": "OE", "œ": "oe", "ß": "ss", "ı": "i",
    "Ħ": "H", "ħ": "h", "Ŋ": "N", "ŋ": "n",
}  # fmt: skip
#: Of cards: background, frame, letters.
_GROUND, _FRAME, _INK = 38, 96, 225


class _Font:
    """One size of the font, and what it has."""

    def __init__(self, size: int) -> None:
        found = ImageFont.load_default(size)
        if not isinstance(found, ImageFont.FreeTypeFont):  # Pillow without FreeType
            raise RuntimeError("Pillow has no scalable font")
        self.face = found
        self.size = size
        self.line = round(size * 1.3)
        self.stroke = max(1, round(size / 8))
        self._missing = self._shape("\U0010fffd")
        self._known: dict[str, bool] = {}

    def _shape(self, letter: str) -> bytes:
        mask = self.face.getmask(letter)
        return bytes(repr(mask.size), "ascii") + bytes(mask)

    def has(self, letter: str) -> bool:
        known = self._known.get(letter)
        if known is None:
            known = letter == " " or self._shape(letter) != self._missing
            if len(self._known) < 4096:
                self._known[letter] = known
        return known

    def plain(self, text: str) -> str:
        """In letters that the font has, in one line."""
        out = []
        for letter in unicodedata.normalize("NFC", text[:_LONGEST]):
            kind = unicodedata.category(letter)
            if kind[0] == "Z":
                out.append(" ")
            elif kind[0] not in "CM" or kind == "Co":
                out.append(self._of(letter))
        return "".join(out)

    def _of(self, letter: str) -> str:
        if self.has(letter):
            return letter
        bare = unicodedata.normalize("NFKD", letter)
        bare = "".join(_LATIN.get(one, one) for one in bare if unicodedata.category(one)[0] != "M")
        if bare and all(map(self.has, bare)):
            return bare
        return _BOX

    def width(self, text: str) -> float:
        """With outlines, for which letters stand apart."""
        return sum(self._advance(letter) for letter in text)

    def _advance(self, letter: str) -> float:
        return self.face.getlength(letter) + self.stroke

    def cut(self, text: str, width: int) -> str:
        """As much of it as is no wider."""
        if self.width(text) <= width:
            return text
        while text and self.width(text + _MORE) > width:
            text = text[:-1]
        return text + _MORE if text else ""

    def write(self, pen: ImageDraw.ImageDraw, x: float, y: float, text: str, ink: Any, outline: Any) -> None:
        """All outlines first: none covers the letter before."""
        for fill, stroke in ((outline, self.stroke), (ink, 0)):
            at = x
            for letter in text:
                pen.text((at, y), letter, fill=fill, font=self.face, stroke_width=stroke)
                at += self._advance(letter)


@lru_cache(maxsize=16)
def _font(size: int) -> _Font:
    return _Font(size)


def annotated(image: Any, texts: Sequence[tuple[Corner, Sequence[str]]]) -> Any:
    """uint8 (rows, columns[, 3]) with lines of text in its corners: white with a black outline, to be read
    on anything."""
    rows, columns = image.shape[:2]
    font = _font(min(max(min(rows, columns) // _SHARE, _LEAST), _MOST))
    margin = max(2, font.size // 2)
    picture = Image.fromarray(np.ascontiguousarray(image))
    pen = ImageDraw.Draw(picture)
    room = max((rows - 2 * margin) // font.line, 0)
    white = 255 if image.ndim == 2 else (255, 255, 255)
    black = 0 if image.ndim == 2 else (0, 0, 0)
    right = any(corner == "top right" and lines for corner, lines in texts)
    for corner, lines in texts:
        half = right and corner != "bottom left"
        width = columns // (2 if half else 1) - 2 * margin
        shown = [line for line in (font.cut(font.plain(line), width) for line in lines[:room]) if line]
        y = margin if corner != "bottom left" else rows - margin - len(shown) * font.line
        for line in shown:
            x = margin if corner != "top right" else columns - margin - font.width(line)
            font.write(pen, x, y, line, white, black)
            y += font.line
    return np.asarray(picture)


def card(words: str, width: int, height: int) -> Any:
    """uint8 (height, width): a frame with a few words in its middle."""
    picture = Image.new("L", (width, height), _GROUND)
    pen = ImageDraw.Draw(picture)
    edge = max(1, min(width, height) // 50)
    if min(width, height) > 2 * edge:
        pen.rectangle((edge, edge, width - 1 - edge, height - 1 - edge), outline=_FRAME, width=edge)
    font = _font(min(max(min(width, height) // 9, _LEAST), _MOST))
    lines = _wrapped(font, font.plain(words), width - 6 * edge)[: max((height - 6 * edge) // font.line, 0)]
    y = (height - len(lines) * font.line) / 2
    for line in lines:
        font.write(pen, (width - font.width(line)) / 2, y, line, _INK, _GROUND)
        y += font.line
    return np.asarray(picture)


def _wrapped(font: _Font, text: str, width: int) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.width(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(font.cut(word, width))
    return lines
