"""What is wrong with JSON that should be DICOM."""

from __future__ import annotations


class JsonError(ValueError):
    """JSON that is no data set, or a value that its VR cannot hold: status 400. `path` says where: tags and
    item numbers (from 1), "00400275/1/00400009". Never holds values."""

    def __init__(self, why: str, path: str = "") -> None:
        super().__init__(f"{path}: {why}" if path else why)
        self.why = why
        self.path = path


class JsonLimitError(JsonError):
    """More bytes, values or depth than are taken: status 413."""
