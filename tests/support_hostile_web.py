"""A web role that is meant harm, and what must hold of it then."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from hounsfield.wire.dicomfile.part10 import build_meta
from support_hostile import CT, EXPLICIT, data_set
from support_stow import failures, stow
from support_wado import DICOM, OCTETS, address, related
from support_web_process import WebProcess

MIB = 1 << 20
STUDY, SERIES = "1.2.3.100", "1.2.3.100.1"
MOST_GROWTH = 150 * MIB


def part10(sop: str, data: bytes, syntax: str = EXPLICIT, sop_class: str = CT) -> bytes:
    own = {"implementation_class_uid": "1.2.3", "implementation_version": "TEST"}
    return build_meta(sop_class, sop, syntax, **own) + data


#: Is there before each attack, and after it.
KEPT = part10("1.2.3.200.1.1", data_set("1.2.3.200.1.1", study="1.2.3.200", series="1.2.3.200.1"))


@contextmanager
def unimpressed(web: WebProcess) -> Iterator[httpx.Client]:
    """The same process goes on, and says of nothing that it was not foreseen; its memory stayed
    bounded, and what was kept before is unharmed.
    (Decoders have processes of their own, and bounds of their own.)"""
    pid, said = web.web.pid, len(web.log("web-1"))
    with web.client() as made, web.growth(alone=True) as growth:
        assert stow(made, [KEPT]).status_code == 200
        yield made
        assert made.get("/healthz").status_code == 200
        at = address("1.2.3.200", "1.2.3.200.1", "1.2.3.200.1.1").instance
        assert made.get(at, headers={"Accept": DICOM}).content == KEPT
    assert web.web.pid == pid
    assert "Traceback" not in web.log("web-1")[said:], web.log("web-1")[said:][:5000]
    assert growth.bytes < MOST_GROWTH, f"{growth.bytes / MIB:.0f} MiB more"


def refused(answer: httpx.Response) -> bool:
    """With a reason; never by a failure of ours."""
    if answer.status_code == 200:
        return False
    assert answer.status_code == 409, answer.text
    assert answer.json(), answer.text
    assert failures(answer.json())[0][1] in (0xC000, 0xA900, 0x0111), answer.text
    assert "00000902" in answer.text
    return True


def asked_in_every_way(client: httpx.Client, sop: str, data: bytes, study: str = STUDY) -> dict[str, int]:
    """Status codes: what was taken comes back as it came, and is shown or refused with a reason."""
    at = address(study, SERIES if study == STUDY else f"{study}.1", sop)
    whole = client.get(at.instance, headers=related(DICOM, "*"))
    assert whole.status_code == 200
    assert data in whole.content
    told = {}
    for path, accept in (
        ("", DICOM),
        ("/metadata", "application/dicom+json"),
        ("/metadata", "application/dicom+xml"),
        ("/frames/1", OCTETS),
        ("/frames/1", "image/jphc"),
        ("/frames/1,2", related(OCTETS, "*")["Accept"]),
        ("/bulkdata/7FE00010", "*/*"),
        ("/rendered", "*/*"),
        ("/rendered?window=40,400,linear&viewport=100,100", "image/png"),
        ("/frames/1/rendered", "image/gif"),
        ("/thumbnail", "*/*"),
    ):
        answer = client.get(at.instance + path, headers={"Accept": accept})
        assert answer.status_code in (200, 404, 406), (path, accept, answer.text)
        if answer.status_code != 200:
            assert answer.headers["content-type"] == "application/problem+json"
            assert len(answer.json()["detail"]) > 10
        told[f"{path} {accept}"] = answer.status_code
    fields = {"SOPInstanceUID": sop, "includefield": "all,00091010,00081140,00280301"}
    found = client.get(f"{at.series}/instances", params=fields)
    assert (found.status_code, len(found.json())) == (200, 1)
    assert client.get(f"{at.series}/metadata").status_code == 200
    return told
