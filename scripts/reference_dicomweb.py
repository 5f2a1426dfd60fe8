"""docs/reference/dicomweb.md: what is offered over DICOMweb (PS3.18), made from the code."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import Template
from typing import Any

from starlette.routing import Route

from hounsfield import __version__
from hounsfield.adapters import transcode
from hounsfield.adapters.pixel_streams import CODINGS
from hounsfield.adapters.rendering import kinds
from hounsfield.domain import identify
from hounsfield.domain.attributes import ATTRIBUTES, DATE_AND_TIME, Attribute, Kind
from hounsfield.domain.query import Level
from hounsfield.ports.rendering import STILL_TYPES
from hounsfield.servers.web import dicomweb, problems
from hounsfield.servers.web.dicomweb import capabilities, frames, qido, rendered, rendered_parameters, stow
from hounsfield.services import outgoing, rounds, search_answer, upload, upload_bulk
from hounsfield.settings import Settings
from hounsfield.wire.dicomfile.json_model import MAX_INLINE
from hounsfield.wire.dicomfile.sop_classes import STORAGE_SOP_CLASSES
from hounsfield.wire.dicomfile.transfer_syntaxes import EXPLICIT_LE, TRANSFER_SYNTAXES
from hounsfield.wire.dicomweb import accept
from hounsfield.wire.dicomweb import qido as keys

if __package__:
    from scripts.reference_conformance import MATCHING, RETURNED_ONLY, _code, _table
else:  # run as a program
    from reference_conformance import MATCHING, RETURNED_ONLY, _code, _table

#: Options of a search, in the words of PS3.18 8.3.4; other parameters are keys.
SEARCH_PARAMETERS = {
    "includefield": "attributes to return besides: keywords or tags, separated by commas; or `all`",
    "limit": "matches of this answer, at most",
    "offset": "matches to pass over",
    "fuzzymatching": "`true`: person names match by their sound too",
    "emptyvaluematching": "not done; the answer has a `Warning`",
    "multiplevaluematching": "nothing changes: lists are always matched",
    "accept": "media types, as in the header",
    "charset": "taken and not used: answers are UTF-8",
}
#: Parameters of rendered resources (PS3.18 8.3.5).
RENDERED_PARAMETERS = {
    "window": "`center,width` or `center,width,function`; the function is {functions}",
    "viewport": "`vw,vh` or `vw,vh,sx,sy,sw,sh`: the largest size, and the region of the image; "
    "negative `sw`, `sh` mirror",
    "quality": "1 to 100, of lossy types",
    "annotation": "{annotations}, burnt into the image; other words are passed over",
    "iccprofile": "{profiles}",
}
#: Parameters of WADO-URI (PS3.18 9.1).
URI_PARAMETERS = {
    "requestType": "`WADO`; required",
    "studyUID": "Study Instance UID; required",
    "seriesUID": "Series Instance UID; required",
    "objectUID": "SOP Instance UID; required",
    "contentType": "media types, best first",
    "transferSyntax": "with `application/dicom`: a UID",
    "anonymize": "`no`",
    "frameNumber": "which frame is shown, from 1",
    "windowCenter": "together with `windowWidth`",
    "windowWidth": "together with `windowCenter`",
    "columns": "largest width in pixels",
    "rows": "largest height in pixels",
    "region": "`xmin,ymin,xmax,ymax`, each from 0.0 to 1.0",
    "imageQuality": "1 to 100, of lossy types",
    "annotation": "as above",
}
#: Statuses, and when. Those of store have a table of their own besides.
STATUSES = {
    200: "it is done",
    201: "the API has made what was asked for",
    202: "store: some objects are kept",
    204: "the answer to a browser that asks for CORS",
    206: "a range of bytes",
    304: "the client has it already",
    400: "the request, a parameter, a UID or a header cannot be read",
    401: "not signed in, or no longer; `WWW-Authenticate` says how",
    403: "the permission is missing, or the request may be forged",
    404: "not there, or not to be seen by this user",
    405: "this method cannot be used here; `Allow` names those that can",
    406: "none of the acceptable types can be given; the pixels cannot be decoded or rendered",
    409: "it contradicts what is kept; store: no object is kept",
    413: "the body or the metadata are too large, or too many images are asked for at once",
    415: "this media type is not taken",
    416: "there are no such bytes",
    422: "a value that cannot be, or what the archive refuses to do",
    429: "too many requests, or too many failed sign-ins; `Retry-After`",
    500: "an error within the archive, or what is kept is damaged: the ledger says which",
    502: "another system failed",
    503: "the database is away, or store has no room; `Retry-After`",
    507: "the storage is full; `Retry-After`",
}
#: Failure Reason (0008,1197) in answers to store (PS3.18 I.2.2).
FAILURE_REASONS = {
    rounds.OUT_OF_RESOURCES: "the disk has less than `min_free` left, or the archive cannot store now",
    identify.DATA_SET_DOES_NOT_MATCH: "SOP Class or SOP Instance UID of data set and file meta group differ",
    upload.OTHER_STUDY: "it is of another study than that of the address",
    identify.CANNOT_UNDERSTAND: "it cannot be read, or a UID is missing or not a UID",
    upload.PROCESSING_FAILURE: "held in quarantine, or an error within the archive; Error Comment says which",
    upload.DUPLICATE_INSTANCE: "another version of it is kept; this one is held in quarantine",
    upload.NOT_AUTHORIZED: "this user may not add to this study",
}
#: Settings of interest, in this order.
SETTINGS = (
    *("search_limit", "http_max_upload", "http_max_body", "http_max_header", "http_header_seconds"),
    *("http_stall_seconds", "http_idle_seconds", "http_connections", "http_connections_per_address"),
    *("http_rate", "http_sign_in_rate", "pixel_processes", "min_free"),
)
_KINDS = {
    kinds.Kind.IMAGE: "images",
    kinds.Kind.REPORT: "structured reports and key object selections",
    kinds.Kind.STATE: "presentation states",
    kinds.Kind.WAVEFORM: "waveforms",
}
_LEVELS = {Level.PATIENT: "patient", Level.STUDY: "study", Level.SERIES: "series", Level.IMAGE: "instance"}


def page(note: str) -> str:
    template = Template((Path(__file__).parent / "dicomweb_template.md").read_text(encoding="utf-8"))
    values = _values(note)
    return template.substitute(
        {name: value if isinstance(value, str) else "\n".join(value) for name, value in values.items()}
    )


def _values(note: str) -> dict[str, str | list[str]]:
    return {
        "note": note,
        "version": __version__,
        "resources": _resources(),
        "metadata_types": _types(accept.METADATA_OFFERS),
        "json": accept.JSON,
        "xml": accept.XML,
        "search_parameters": _parameters({**SEARCH_PARAMETERS, "(any other)": "a key"}),
        "attributes": _attributes(),
        "from_objects": str(search_answer.FROM_OBJECTS),
        "more": qido.MORE,
        "native": TRANSFER_SYNTAXES[EXPLICIT_LE].name,
        "inline": str(MAX_INLINE),
        "most_frames": str(frames.MOST_FRAMES),
        "bulk_types": _bulk_types(),
        "rendered_types": _rendered_types(),
        "most_images": str(rendered._MOST_IMAGES),
        "thumbnail": f"{rendered_parameters.THUMBNAIL.width} by {rendered_parameters.THUMBNAIL.height}",
        "rendered_parameters": _parameters(RENDERED_PARAMETERS),
        "most_pixels": str(rendered_parameters.MOST_PIXELS),
        "wado_uri": _parameters(URI_PARAMETERS),
        "failure_reasons": _table(
            ("Failure Reason", "When"),
            [(f"{code:04X}", when) for code, when in sorted(FAILURE_REASONS.items())],
        ),
        "wadl": capabilities.WADL,
        "problem": problems.MEDIA_TYPE,
        "statuses": _table(("Status", "When"), [(str(code), when) for code, when in STATUSES.items()]),
        "decoded": ", ".join(TRANSFER_SYNTAXES[uid].name for uid in CODINGS),
        "natives": ", ".join(TRANSFER_SYNTAXES[uid].name for uid in transcode._FROM_COMPRESSED),
        "compressed": _table(
            ("Transfer syntax", "UID"), [(_name(uid), f"`{uid}`") for uid in transcode.COMPRESSED]
        ),
        "limits": _limits(),
        "settings": [_setting(name) for name in SETTINGS],
    }


def _resources() -> list[str]:
    handlers: dict[tuple[str, str], Any] = {}
    for route in dicomweb.routes:
        assert isinstance(route, Route)
        for method in route.methods or ():
            handlers[method, route.path] = route.endpoint
    rows = []
    for rule in dicomweb.RULES:
        does = (handlers[rule.method, rule.path].__doc__ or "").strip()
        words = " ".join(does.partition("\n\n")[0].split())
        path = re.sub(r":path}", "}", rule.path)
        if not path.endswith("/"):
            rows.append((f"{rule.method} `{path}`", words, f"`{rule.needs}`"))
    return _table(("Request", "What", "Needs"), rows)


def _types(offers: tuple[accept.Offer, ...]) -> str:
    shown = [
        f'{accept.RELATED}; type="{one.media_type}"' if one.multipart else one.media_type for one in offers
    ]
    return _code(shown)


def _parameters(meanings: Mapping[str, str]) -> list[str]:
    words = {
        "functions": _code(rendered_parameters._FUNCTIONS),
        "annotations": _code(sorted(rendered_parameters._ANNOTATIONS)),
        "profiles": _code(sorted(rendered_parameters._PROFILES)),
    }
    rows = [
        (f"`{name}`" if name[0] != "(" else name, text.format(**words)) for name, text in meanings.items()
    ]
    return _table(("Parameter", "Meaning"), rows)


def _attributes() -> list[str]:
    rows = [
        (
            attribute.keyword,
            f"({attribute.tag >> 16:04X},{attribute.tag & 0xFFFF:04X})",
            attribute.vr,
            _LEVELS[attribute.level],
            _matching(attribute),
            _returned(attribute),
        )
        for attribute in ATTRIBUTES.values()
    ]
    return _table(("Attribute", "Tag", "VR", "Level", "Matching", "Returned"), rows)


def _matching(attribute: Attribute) -> str:
    only = attribute.keyword in RETURNED_ONLY
    text = MATCHING[Kind.COUNT] if only else MATCHING[attribute.kind]
    return text + ("; combined date-time" if any(attribute.keyword in pair for pair in DATE_AND_TIME) else "")


def _returned(attribute: Attribute) -> str:
    always = {keyword for names in search_answer.REQUIRED.values() for keyword in names}
    known = {keyword for names in search_answer.KNOWN.values() for keyword in names}
    if attribute.keyword in always:
        return "always"
    if attribute.tag in search_answer.OF_REQUEST:
        return "always, within Request Attributes Sequence"
    return "known" if attribute.keyword in known else "asked"


def _bulk_types() -> list[str]:
    rows = [
        (f"`{media_type}`", ", ".join(f"{_name(uid)} (`{uid}`)" for uid in syntaxes))
        for media_type, syntaxes in accept.BULK_MEDIA_TYPES.items()
    ]
    return _table(("Media type", "Transfer syntaxes, the default first"), rows)


def _rendered_types() -> list[str]:
    return _table(("Objects", "Media types, the default first"), list(_rendered_rows()))


def _rendered_rows() -> Iterator[tuple[str, str]]:
    yield _KINDS[kinds.Kind.IMAGE], _code(STILL_TYPES)
    for kind in (kinds.Kind.REPORT, kinds.Kind.STATE, kinds.Kind.WAVEFORM):
        sop_class = {"report": "88.11", "presentation state": "11.1", "waveform": "9.1.1"}[kind]
        found = kinds.media_types(f"1.2.840.10008.5.1.4.1.1.{sop_class}", EXPLICIT_LE)
        assert kinds.kind_of(f"1.2.840.10008.5.1.4.1.1.{sop_class}", EXPLICIT_LE) is kind
        yield _KINDS[kind], _code(found)
    for uid, types in kinds.ENCAPSULATED_TYPES.items():
        yield STORAGE_SOP_CLASSES[uid].removesuffix(" Storage"), f"{_code(types)}, as stored"
    yield "video", f"{_code(dict.fromkeys(kinds.VIDEO_TYPES.values()))}, as stored"


def _name(uid: str) -> str:
    return TRANSFER_SYNTAXES[uid].name


def _limits() -> list[str]:
    rows = [
        ("query string of a search", f"{keys.MAX_QUERY} bytes, {keys.MAX_PARAMETERS} parameters"),
        ("Accept header", f"{accept.MAX_HEADER} characters, {accept.MAX_RANGES} media types"),
        ("object that is converted", f"{outgoing.LARGEST_CONVERTED >> 30} GiB"),
        ("frames of one request", str(frames.MOST_FRAMES)),
        ("images of one rendered answer", str(rendered._MOST_IMAGES)),
        ("parts of one store request", str(stow.MOST_PARTS)),
        ("metadata of one store request", f"{upload_bulk.MOST_METADATA >> 20} MiB"),
    ]
    return _table(("Limit", "Value"), rows)


def _setting(name: str) -> str:
    field = Settings.model_fields[name]
    return f"| `{name}` | {field.default:g} | {field.description} |"


if __name__ == "__main__":
    sys.stdout.write(page(""))
