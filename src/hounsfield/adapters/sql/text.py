"""Text on its way into a column: what either database would refuse is replaced, what is too long is cut.

PostgreSQL takes no NUL and neither takes a lone surrogate; an indexed value of PostgreSQL ends near 2700
bytes. The index is a finding aid: the object itself keeps every byte.
"""

from __future__ import annotations

import hashlib
import re

#: Characters of any text that the index keeps; the longest attribute (PN, three groups) has 194.
TEXT_LIMIT = 512
_KEY_LIMIT = 256

_unstorable = re.compile("[\x00\ud800-\udfff]")


def clean(text: str) -> str:
    """`text` as a column takes it, cut to TEXT_LIMIT characters."""
    if len(text) <= TEXT_LIMIT and text.isascii() and "\0" not in text:
        return text
    return _unstorable.sub("\ufffd", text[:TEXT_LIMIT])


def clean_key(text: str) -> str:
    """As `clean`, for values that must stay distinct: a long one ends in a hash of the whole. Cleaning twice
    changes nothing more."""
    if len(text) <= _KEY_LIMIT:
        return text if text.isascii() and "\0" not in text else _unstorable.sub("\ufffd", text)
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()
    return _unstorable.sub("\ufffd", text[: _KEY_LIMIT - len(digest) - 1]) + "#" + digest


def bounded(number: int) -> int:
    """A number of a header as an INTEGER column takes it."""
    return number if -0x80000000 <= number <= 0x7FFFFFFF else 0x7FFFFFFF
