"""HTML of which every text is escaped, for what is no image."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import Final

from hounsfield.domain.errors import UnreadableError
from hounsfield.wire.dicomfile.outline import Outline

#: Bytes of one page.
LARGEST_PAGE: Final = 1 << 24

_STYLE: Final = """
body{font:16px/1.5 system-ui,sans-serif;max-width:56rem;margin:2rem auto;padding:0 1.25rem;color:#1a2430;
background:#fff}
header{border-bottom:2px solid #d5dce4;margin-bottom:1.5rem;padding-bottom:1rem}
h1{font-size:1.5rem;line-height:1.25;margin:0 0 .75rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem;margin:0}
dt,.name{color:#56657a}dd{margin:0}
ul{list-style:none;padding:0 0 0 1.1rem;margin:.2rem 0;border-left:1px solid #e4e9ef}
main>ul{padding:0;border:0}
li{margin:.25rem 0}
.head{display:block;font-weight:650;margin-top:.6rem}
.value{white-space:pre-wrap;overflow-wrap:anywhere}
.number{font-variant-numeric:tabular-nums;font-weight:600}
.note{color:#8a3b12}
a{color:#0b5cad}
"""
_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
#: Also within the page, for whoever keeps it as a file.
_POLICY: Final = f"default-src 'none'; style-src 'sha256-{_HASH}'"


class Page:
    """Written from top to bottom. Raises UnreadableError when it becomes too large."""

    def __init__(self, title: str) -> None:
        self._pieces: list[str] = [
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">'
            '<meta name="viewport" content="width=device-width">'
            f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
        ]
        self._size = 0

    def mark(self, markup: str) -> None:
        """Markup of ours."""
        self._pieces.append(markup)
        self._size += len(markup)
        if self._size > LARGEST_PAGE:
            raise UnreadableError("the report is larger than is shown for anybody")

    def text(self, text: str, inside: str = "span", kind: str = "value") -> None:
        """Text from a data set."""
        self.mark(f'<{inside} class="{kind}">{escape(text)}</{inside}>')

    def link(self, text: str, address: str) -> None:
        self.mark(f'<a href="{escape(address)}">{escape(text)}</a>' if address else escape(text))

    def table(self, rows: list[tuple[str, str]]) -> None:
        """Names and values; those without a value are left out."""
        shown = [(name, value) for name, value in rows if value]
        self.mark("<dl>")
        for name, value in shown:
            self.mark(f"<dt>{escape(name)}</dt>")
            self.text(value, "dd")
        self.mark("</dl>")

    def finish(self) -> bytes:
        self.mark("</body></html>\n")
        return "".join(self._pieces).encode("utf-8", "replace")


def person(name: str) -> str:
    """A person name as people write it: the alphabetic group, then the others (PS3.5 6.2.1)."""
    groups = []
    for group in name.split("="):
        family, given, middle, prefix, suffix = (*group.split("^"), "", "", "", "", "")[:5]
        names = " ".join(filter(None, (prefix, given, middle)))
        whole = ", ".join(filter(None, (family, names, suffix)))
        if whole.strip():
            groups.append(whole)
    return " · ".join(groups)


def date(text: str) -> str:
    return f"{text[:4]}-{text[4:6]}-{text[6:8]}" if len(text) == 8 and text.isdigit() else text


def time(text: str) -> str:
    whole = text.split(".")[0]
    if len(whole) in (4, 6) and whole.isdigit():
        return ":".join(whole[n : n + 2] for n in range(0, len(whole), 2))
    return text


def moment(text: str) -> str:
    """Of VR DT."""
    digits = len(text) - len(text.lstrip("0123456789"))
    if digits < 8:
        return text
    zone = next((text[at:] for at in range(digits, len(text)) if text[at] in "+-"), "")
    return f"{date(text[:8])} {time(text[8:digits])} {zone}".strip()


def about(elements: Outline) -> list[tuple[str, str]]:
    """Whom and what an object is about."""
    return [
        ("Patient", person(elements.text(0x00100010))),
        ("Patient ID", elements.text(0x00100020)),
        ("Birth date", date(elements.text(0x00100030))),
        ("Sex", elements.text(0x00100040)),
        ("Study", elements.text(0x00081030)),
        ("Study date", f"{date(elements.text(0x00080020))} {time(elements.text(0x00080030))}".strip()),
        ("Accession number", elements.text(0x00080050)),
        ("Institution", elements.text(0x00080080)),
        ("Referring physician", person(elements.text(0x00080090))),
    ]
