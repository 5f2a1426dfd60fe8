"""From the bytes of an object to its keys, or to the reason why it is refused.

An association mostly sends one series after the other: what the objects of a series have in common is looked
at once (`wire.dicomfile.template`), and of each further one only what is its own.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from hounsfield.domain.identify import CANNOT_UNDERSTAND, Refusal, identify, identify_next
from hounsfield.domain.ids import is_tolerated_uid
from hounsfield.domain.study import ObjectKeys
from hounsfield.ports.blobs import Piece
from hounsfield.wire.dicomfile.errors import MalformedError, TruncatedError
from hounsfield.wire.dicomfile.extent import check_rest, check_whole
from hounsfield.wire.dicomfile.header import Header, read_header, texts_of
from hounsfield.wire.dicomfile.template import MAX_HEADER, Template, begin

#: Series of which something is remembered: one for each association that sends.
MOST_REMEMBERED = 256
#: Objects of a series that may differ from what was learned of it, before nothing more is learned.
MOST_LESSONS = 24


@dataclass(slots=True)
class _Series:
    """What is known of the series that an association sends."""

    keys: ObjectKeys  # of its first object
    begins: bytes  # the first object, as far as a template looks
    syntax: str
    default_character_set: str
    character_set: str
    template: Template | None = None
    lessons: int = 0

    def learn(self, data: Piece) -> None:
        """Another object of the series, which the template, if there is one, did not match."""
        self.lessons += 1
        before = self.template or begin(self.begins, self.syntax)
        self.template = before.refined(data) if before is not None else None


class Scanner:
    """Scans objects as they come over associations. Used by several threads."""

    def __init__(self) -> None:
        self._series: OrderedDict[str, _Series] = OrderedDict()
        self._lock = threading.Lock()

    def keys(
        self,
        association: str,
        pieces: Sequence[Piece],
        transfer_syntax_uid: str,
        character_set: str,
        sop_class_uid: str,
        sop_instance_uid: str,
    ) -> ObjectKeys | Refusal:
        """The keys of the object whose data set is in `pieces`. The UIDs are those of the request."""
        series = self._series.get(association)
        try:
            if (
                series is not None
                and series.template is not None
                and series.syntax == transfer_syntax_uid
                and series.default_character_set == character_set
            ):
                matched = series.template.match(pieces[0])
                if matched is not None:
                    found, rest = matched
                    check_rest(pieces, rest, transfer_syntax_uid)
                    return identify_next(
                        series.keys,
                        texts_of(found, series.character_set, transfer_syntax_uid),
                        sop_class_uid=sop_class_uid,
                        sop_instance_uid=sop_instance_uid,
                    )
            header, pieces = _read(pieces, transfer_syntax_uid, character_set)
            check_whole(header, pieces, transfer_syntax_uid)
        except MalformedError as error:
            return _unreadable(error)
        keys = _identify(header, transfer_syntax_uid, sop_class_uid, sop_instance_uid)
        if isinstance(keys, ObjectKeys) and header.rest >= 0 and not header.handed_over:
            self._learn(association, keys, header, pieces[0], transfer_syntax_uid, character_set)
        return keys

    def _learn(
        self,
        association: str,
        keys: ObjectKeys,
        header: Header,
        data: Piece,
        transfer_syntax_uid: str,
        character_set: str,
    ) -> None:
        series = self._series.get(association)
        if (
            series is not None
            and series.keys.series.series_instance_uid == keys.series.series_instance_uid
            and series.syntax == transfer_syntax_uid
        ):
            if series.lessons < MOST_LESSONS:
                series.learn(data)
            return
        begins = bytes(memoryview(data)[: MAX_HEADER + 1])
        series = _Series(keys, begins, transfer_syntax_uid, character_set, header.character_set)
        with self._lock:
            self._series[association] = series
            self._series.move_to_end(association)
            if len(self._series) > MOST_REMEMBERED:
                self._series.popitem(last=False)


def _read(
    pieces: Sequence[Piece], transfer_syntax_uid: str, character_set: str
) -> tuple[Header, Sequence[Piece]]:
    """The header from the first piece; where it goes on behind, from all of them, made one."""
    if len(pieces) > 1:
        header = _header(pieces[0], transfer_syntax_uid, character_set, partial=True)
        if header is not None:
            return header, pieces
    whole = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    return read_header(whole, transfer_syntax_uid, default_character_set=character_set), (whole,)


def _header(data: Piece, transfer_syntax_uid: str, character_set: str, *, partial: bool) -> Header | None:
    """With `partial`, None when `data` ends within the header."""
    try:
        header = read_header(data, transfer_syntax_uid, default_character_set=character_set)
    except MalformedError:
        if partial:
            return None
        raise
    return header if header.complete or not partial else None


def scan(
    data: Piece,
    transfer_syntax_uid: str,
    character_set: str,
    sop_class_uid: str = "",
    sop_instance_uid: str = "",
    *,
    partial: bool = False,
) -> ObjectKeys | Refusal | None:
    """Keys of a single data set, or why it is refused. With `partial`, `data` may be its beginning; None when
    that ends within the header."""
    try:
        header = _header(data, transfer_syntax_uid, character_set, partial=partial)
        if header is None:
            return None
        if not partial:
            check_whole(header, (data,), transfer_syntax_uid)
    except MalformedError as error:
        return _unreadable(error)
    return _identify(header, transfer_syntax_uid, sop_class_uid, sop_instance_uid)


def scan_whole(
    data: Piece, syntax: str, character_set: str, sop_class: str, sop_instance: str
) -> ObjectKeys | Refusal:
    """The same of a whole data set."""
    found = scan(data, syntax, character_set, sop_class, sop_instance)
    assert found is not None
    return found


def _identify(
    header: Header, transfer_syntax_uid: str, sop_class_uid: str, sop_instance_uid: str
) -> ObjectKeys | Refusal:
    if not is_tolerated_uid(transfer_syntax_uid):  # it goes out again in headers
        return Refusal(CANNOT_UNDERSTAND, "Transfer Syntax UID is not a UID")
    return identify(
        header.values,
        header.request,
        sop_class_uid=sop_class_uid,
        sop_instance_uid=sop_instance_uid,
        handed_over=header.handed_over,
    )


def _unreadable(error: MalformedError) -> Refusal:
    if isinstance(error, TruncatedError):
        return Refusal(CANNOT_UNDERSTAND, f"the data set is cut short: {error}")
    return Refusal(CANNOT_UNDERSTAND, str(error))
