"""Real DICOM files and pydicom as the oracle, for the tests of `wire.dicomfile`."""

from __future__ import annotations

import io
import math
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import data_store
import pydicom
from pydicom.multival import MultiValue

from hounsfield.wire.dicomfile.header import INDEX_TAGS, REQUEST_TAGS
from hounsfield.wire.dicomfile.layouts import STRING_VRS

PADDING = " \0"
#: What is in the folders beside DICOM files.
_OTHERS = {
    ".py",
    ".pyc",
    ".txt",
    ".md",
    ".json",
    ".hl7",
    ".dump",
    ".icc",
    ".gz",
    ".zip",
    ".bin",
    ".xml",
    ".rst",
}


def pydicom_files() -> list[Path]:
    """Every DICOM file of the pydicom and pydicom-data packages, DICOMDIRs too."""
    roots = [Path(pydicom.__file__).parent / "data", Path(data_store.__file__).parent]
    return sorted(path for root in roots for path in _dicom_files(root))


def sample_files() -> list[Path]:
    """Every DICOM file under the folder of HOUNSFIELD_SAMPLES; none where that is not set."""
    folder = os.environ.get("HOUNSFIELD_SAMPLES")
    return sorted(_dicom_files(Path(folder))) if folder else []


def _dicom_files(root: Path) -> Iterator[Path]:
    for path in root.rglob("*"):
        if path.is_file() and path.suffix.lower() not in _OTHERS and path.stat().st_size > 200:
            yield path


def oracle(data: bytes) -> pydicom.Dataset:
    """The data set as pydicom reads it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True, force=True)


def oracle_texts(data_set: pydicom.Dataset, tags: Any) -> dict[int, str]:
    """Values as the header scan gives them, made from pydicom's values."""
    texts = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for tag in tags:
            if tag in data_set and (text := _text(data_set[tag])):
                texts[tag] = text
    return texts


def _text(element: pydicom.DataElement) -> str:
    if element.value is None:
        return ""
    values = element.value if isinstance(element.value, MultiValue) else [element.value]
    texts = [getattr(value, "original_string", None) if element.VR == "IS" else value for value in values]
    texts = [value if text is None else text for value, text in zip(values, texts, strict=True)]
    if element.VR == "PN":
        return "\\".join(str(value).rstrip(PADDING).rstrip("=") for value in texts)
    if element.VR in STRING_VRS:
        return "\\".join(str(value).strip(PADDING) for value in texts)
    return "\\".join(str(value) for value in texts)


def expected_header(data_set: pydicom.Dataset) -> tuple[dict[int, str], dict[int, str]]:
    """What `read_header` should give as `values` and `request`."""
    request: dict[int, str] = {}
    if 0x00400275 in data_set and data_set[0x00400275].VR == "SQ" and data_set[0x00400275].value:
        request = oracle_texts(data_set[0x00400275].value[0], REQUEST_TAGS)
    return oracle_texts(data_set, INDEX_TAGS), request


def as_bytes(data_set: pydicom.Dataset, *, implicit: bool = False, little_endian: bool = True) -> bytes:
    """The data set written by pydicom, without preamble and file meta group."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pydicom.dcmwrite(
            buffer, data_set, implicit_vr=implicit, little_endian=little_endian, enforce_file_format=False
        )
    data = buffer.getvalue()
    return data[132:] if data[128:132] == b"DICM" else data


def normal_json(model: dict[str, Any]) -> dict[str, Any]:
    """A data set of DICOM JSON without what both write differently: group lengths, character set, pixels,
    padding, empty values."""
    members = {}
    for key, member in model.items():
        if key.endswith("0000") or key in ("00080005", "FFFCFFFC") or key.startswith("7FE0"):
            continue
        member = dict(member)
        if "Value" in member:
            values = [_normal_value(member["vr"], value) for value in member["Value"]]
            if values and values != [None]:
                member["Value"] = values
            else:
                del member["Value"]
        members[key] = member
    return members


def _normal_value(vr: str, value: Any) -> Any:
    if vr == "SQ":
        return normal_json(value)
    if vr == "PN" and value is not None:
        return {key: group.rstrip() for key, group in value.items() if group} or None
    if isinstance(value, str):
        return value.strip() or None
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
