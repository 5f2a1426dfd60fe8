"""Text in rendered images, their proportions, and renderings that are kept."""

from __future__ import annotations

import numpy as np
import pytest

from hounsfield.adapters.rendering.annotation import texts
from hounsfield.adapters.rendering.functional_groups import FrameAttributes
from hounsfield.adapters.rendering.lettering import _font, annotated, card
from hounsfield.ports.rendering import Viewport, Window
from hounsfield.servers.web.dicomweb.rendered_kept import Kept
from hounsfield.wire.dicomfile.outline import outline
from support_rendering import Held, explicit, image_set, picture
from support_transcode import EXPLICIT

BOTH = frozenset({"patient", "technique"})
GREY = np.full((200, 300), 1000, "u2")


def _lines(wanted: frozenset[str] = BOTH, window: Window | None = None, **attributes: object) -> list[str]:
    data_set = image_set(GREY, stored=12, **attributes)
    data = Held(explicit(data_set))
    frame = FrameAttributes(outline(data.read, data.size, EXPLICIT))
    return [line for _, lines in texts(frame, 1, wanted, window) for line in lines]


def test_what_annotations_say() -> None:
    told = {
        "PatientName": "Doe^Jane^Q=漢^字",
        "PatientID": "X7",
        "PatientBirthDate": "19620405",
        "PatientSex": "F",
    }
    assert _lines(frozenset({"patient"}), **told) == ["Doe, Jane Q", "X7", "1962-04-05  F"]
    made = {
        "Modality": "CT",
        "StudyDate": "20240131",
        "KVP": "120",
        "XRayTubeCurrent": "200",
        "ExposureTime": "750",
        "SliceThickness": "1.250",
        "SliceLocation": "-103.4",
    }
    lines = _lines(frozenset({"technique"}), Window(40, 400), **told, **made)
    assert lines == ["CT", "2024-01-31", "120 kV  150 mAs", "1.25 mm  at -103.4 mm", "C 40  W 400"]
    assert _lines(frozenset({"technique"}), RepetitionTime="4000", EchoTime="240") == [
        "TR 4000 ms  TE 240 ms"
    ]
    assert _lines() == []


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("Müller-Østergård", "Muller-Ostergard"),
        ("Þóra Łukaß", "Thora Lukass"),
        ("A\u0301b\u200bc\td", "Abcd"),
        ("山田", "□□"),
        ("a\u3000b", "a b"),
        ("x" * 5000, "x" * 120),
    ],
    ids=["accents", "letters", "marks", "boxes", "space", "long"],
)
def test_letters_that_the_font_lacks(text: str, drawn: str) -> None:
    assert _font(12).plain(text) == drawn


@pytest.mark.parametrize("level", [0, 255])
def test_text_can_be_read_on_black_and_on_white(level: int) -> None:
    image = np.full((200, 300), level, "u1")
    shown = annotated(image, [("top left", ["Doe, Jane"])])
    assert (image == level).all()  # the picture itself is left alone
    assert shown.min() == 0 and shown.max() > 200
    assert (shown[100:] == level).all()
    white = annotated(image, [("top left", [""])])
    assert np.array_equal(white, image)


@pytest.mark.parametrize("size", [(1, 1), (3, 400), (9, 9), (40, 64), (700, 700)])
def test_annotations_and_cards_of_any_size(size: tuple[int, int]) -> None:
    grey, colour = np.zeros(size, "u1"), np.zeros((*size, 3), "u1")
    lines = ["W" * 200, "Doe"]
    for image in (grey, colour):
        corners = [("top left", lines), ("top right", lines), ("bottom left", lines)]
        assert annotated(image, corners).shape == image.shape  # type: ignore[arg-type]  # the three corners
    assert card("Presentation state", size[1], size[0]).shape == size


def test_annotations_of_color_and_behind_the_viewport() -> None:
    colour = image_set(np.full((200, 300, 3), 90, "u1"), "RGB", PatientName="Doe")
    plain = picture(explicit(colour), EXPLICIT)
    shown = picture(explicit(colour), EXPLICIT, annotation=BOTH)
    assert shown.shape == plain.shape and (shown != plain).any()
    region = Viewport(None, None, 100, 100, 150, 80)  # of the lower part: the text is there all the same
    shown = picture(explicit(colour), EXPLICIT, annotation=BOTH, viewport=region)
    assert shown.shape == (80, 150, 3) and (shown != 90).any()


@pytest.mark.parametrize(
    ("tag", "values"),
    [("PixelAspectRatio", [2, 1]), ("PixelSpacing", [0.8, 0.4]), ("NominalScannedPixelSpacing", [4, 2])],
)
def test_pixels_become_square_where_a_size_is_asked_for(tag: str, values: list[float]) -> None:
    """Without a size there is one pixel for each value of the matrix."""
    data = explicit(image_set(GREY, stored=12, **{tag: values}))
    assert picture(data, EXPLICIT).shape == (200, 300)
    assert picture(data, EXPLICIT, viewport=Viewport(None, None, 0, 0, 100, 50)).shape == (50, 100)
    assert picture(data, EXPLICIT, viewport=Viewport(150, None)).shape == (200, 150)
    assert picture(data, EXPLICIT, viewport=Viewport(75, 75)).shape == (75, 56)


def test_kept_renderings_are_bounded() -> None:
    kept = Kept(most=100)
    for number in range(30):
        kept.put(bytes([number]), "a", bytes(10))
        kept.get(b"\0", "a")  # used again and again: it stays
    assert kept.size <= 100
    assert kept.get(b"\0", "a") is not None
    assert kept.get(bytes([29]), "a") is not None
    assert kept.get(bytes([2]), "a") is None
    assert kept.get(b"\0", "b") is None
    kept.put(b"\0", "a", bytes(20))
    assert kept.size <= 100
