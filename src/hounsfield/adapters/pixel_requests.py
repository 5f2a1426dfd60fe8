"""What a pixel process is asked to do, by name. Each answer is parts, each of them in pieces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hounsfield.adapters import pixel_conversion
from hounsfield.adapters.pixel_data_set import DataSet
from hounsfield.adapters.rendering import answers
from hounsfield.ports.blobs import Piece


def answer(request: Mapping[str, Any], data_set: DataSet) -> Iterable[Iterable[Piece]]:
    """Raises UnreadableError, NotFoundError, MalformedError, and what decoders raise."""
    match request["do"]:
        case "convert":
            source, target, largest = request["source"], request["target"], request["largest"]
            return (pixel_conversion.convert(data_set.whole(), source, target, largest),)
        case "render":
            return ((answers.rendered(request, data_set),),)
        case "card":
            return ((answers.card(request),),)
        case "frames":
            return answers.frames(request, data_set)
        case _:
            raise ValueError(request["do"])
