"""From stored values to what is shown, each step against numbers worked out by hand or by pydicom."""

from __future__ import annotations

import copy

import imagecodecs
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.pixels import apply_windowing, convert_color_space
from pydicom.sequence import Sequence

from hounsfield.adapters.rendering.geometry import resized
from hounsfield.adapters.rendering.lookup_tables import expand_segments
from hounsfield.domain.errors import UnreadableError
from hounsfield.ports.rendering import Viewport, Window
from support_rendering import explicit, image_set, picture, render
from support_transcode import EXPLICIT

RAMP = np.arange(0, 4096, dtype="u2").reshape(64, 64)


def _shown(data_set: pydicom.Dataset, **how: object) -> np.ndarray:
    return picture(explicit(data_set), EXPLICIT, **how)


@settings(max_examples=40, deadline=None)
@given(
    center=st.floats(-2000, 5000, width=32),
    width=st.floats(1, 5000, width=32),
    function=st.sampled_from(["linear", "linear-exact", "sigmoid"]),
    signed=st.booleans(),
    stored=st.integers(9, 16),
    slope=st.sampled_from([1.0, 0.5, 2.5]),
    intercept=st.sampled_from([0.0, -1024.0, 7.5]),
)
def test_windows_as_pydicom_has_them(
    center: float, width: float, function: str, signed: bool, stored: int, slope: float, intercept: float
) -> None:
    half = 1 << (stored - 1)
    values = np.linspace(-half if signed else 0, half - 1 if signed else 2 * half - 1, 4096)
    cells = values.astype("i2" if signed else "u2").reshape(64, 64)
    data_set = image_set(cells, stored=stored, RescaleSlope=slope, RescaleIntercept=intercept)
    shown = _shown(data_set, window=Window(center, width, function))  # type: ignore[arg-type]
    data_set.WindowCenter, data_set.WindowWidth = center, width
    data_set.VOILUTFunction = function.upper().replace("-", "_")
    wanted = apply_windowing(cells * slope + intercept, data_set)
    low = (-half if signed else 0) * slope + intercept
    high = (half - 1 if signed else 2 * half - 1) * slope + intercept
    assert np.abs(shown - (wanted - low) / (high - low) * 255).max() <= 1


def test_a_window_of_the_object_counts_and_the_first_of_several() -> None:
    data_set = image_set(RAMP, stored=12, WindowCenter=[100, 900], WindowWidth=[51, 1])
    shown = _shown(data_set)
    assert (shown.min(), shown.max()) == (0, 255)
    assert (shown.ravel()[75], shown.ravel()[126]) == (3, 255) or shown.ravel()[74] == 0
    assert shown.ravel()[100] in (129, 130, 131)


def test_inverse_is_said_once_or_twice() -> None:
    plain = _shown(image_set(RAMP, stored=12))
    one = _shown(image_set(RAMP, "MONOCHROME1", stored=12))
    both = _shown(image_set(RAMP, "MONOCHROME1", stored=12, PresentationLUTShape="INVERSE"))
    assert np.array_equal(one, both)
    assert np.abs(plain.astype(int) + one - 255).max() <= 1


def test_padding_is_background_and_counts_for_no_window() -> None:
    cells = RAMP.astype("i2") + 100
    cells[0, 0] = -2000
    data_set = image_set(cells, PixelPaddingValue=("SS", -2000))
    shown = _shown(data_set)
    assert (shown[0, 0], shown.max()) == (0, 255)
    assert shown[0, 1] == 0
    assert _shown(image_set(cells, "MONOCHROME1", PixelPaddingValue=("SS", -2000)))[0, 0] == 0
    ranged = image_set(cells, PixelPaddingValue=("SS", -2000), PixelPaddingRangeLimit=("SS", 1000))
    assert _shown(ranged).ravel()[:900].max() == 0


@pytest.mark.parametrize("kind", ["u4", "i4", "f4", "f8"])
def test_wide_and_floating_cells(kind: str) -> None:
    cells = (RAMP.astype("f8") * 1000 - (0 if kind == "u4" else 1e6)).astype(kind)
    if kind[0] == "f":
        data_set = image_set(np.zeros((64, 64), "u2"))
        del data_set.PixelData, data_set.BitsStored, data_set.HighBit, data_set.PixelRepresentation
        data_set.BitsAllocated = 32 if kind == "f4" else 64
        name = "FloatPixelData" if kind == "f4" else "DoubleFloatPixelData"
        cells[3, 3] = np.nan
        setattr(data_set, name, cells.tobytes())
    else:
        data_set = image_set(cells)
    shown = _shown(data_set)
    assert (shown[0, 0], shown[-1, -1]) == (0, 255)
    assert abs(int(shown[32, 0]) - 128) <= 1


@pytest.mark.parametrize("bits", [1, 4, 12])
def test_cells_that_are_no_whole_bytes(bits: int) -> None:
    values = np.arange(7 * 9).reshape(7, 9) % (1 << bits)
    packed = sum(int(v) << (n * bits) for n, v in enumerate(values.ravel())).to_bytes(
        7 * 9 * bits // 8 + 2, "little"
    )
    data_set = image_set(np.zeros((7, 9), "u1"), WindowCenter=(1 << bits) / 2, WindowWidth=(1 << bits))
    data_set.BitsAllocated, data_set.BitsStored, data_set.HighBit = bits, bits, bits - 1
    data_set.PixelData = packed[: len(packed) // 2 * 2]
    shown = _shown(data_set, window=Window(((1 << bits) - 1) / 2, (1 << bits) - 1, "linear-exact"))
    assert np.abs(shown - values * 255 / ((1 << bits) - 1)).max() <= 1


def test_colours_of_all_layouts() -> None:
    rgb = np.random.default_rng(3).integers(0, 256, (16, 20, 3)).astype("u1")
    assert np.array_equal(_shown(image_set(rgb, "RGB")), rgb)
    planar = image_set(rgb, "RGB")
    planar.PlanarConfiguration = 1
    planar.PixelData = np.ascontiguousarray(np.moveaxis(rgb, -1, 0)).tobytes()
    assert np.array_equal(_shown(planar), rgb)
    ybr = _shown(image_set(rgb, "YBR_FULL")).astype(int)
    assert np.abs(ybr - convert_color_space(rgb, "YBR_FULL", "RGB")).max() <= 1
    halved = image_set(rgb, "YBR_FULL_422")
    quads = np.stack([rgb[:, 0::2, 0], rgb[:, 1::2, 0], rgb[:, 0::2, 1], rgb[:, 0::2, 2]], -1)
    halved.PixelData = quads.tobytes()
    whole = rgb.copy()
    whole[:, 1::2, 1:] = whole[:, 0::2, 1:]
    wanted = convert_color_space(whole, "YBR_FULL", "RGB")
    assert np.abs(_shown(halved).astype(int) - wanted).max() <= 1
    deep = image_set(rgb.astype("u2") * 257, "RGB")
    assert np.array_equal(_shown(deep), rgb)


def test_functional_groups_of_a_frame_count_before_shared_ones() -> None:
    data_set = image_set(np.stack([RAMP, RAMP]), stored=12, frames=2)

    def group(**values: float) -> pydicom.Dataset:
        outer, voi, change = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
        if "center" in values:
            voi.WindowCenter, voi.WindowWidth = values["center"], 100
            outer.FrameVOILUTSequence = Sequence([voi])
        if "intercept" in values:
            change.RescaleIntercept, change.RescaleSlope = values["intercept"], 1
            outer.PixelValueTransformationSequence = Sequence([change])
        return outer

    data_set.SharedFunctionalGroupsSequence = Sequence([group(center=1000)])
    data_set.PerFrameFunctionalGroupsSequence = Sequence(
        [group(intercept=-500), group(center=2000, intercept=0)]
    )
    first, second = _shown(data_set, frames=(1,)).ravel(), _shown(data_set, frames=(2,)).ravel()
    assert (first[1440], first[1560]) == (0, 255)
    assert (second[1940], second[2060]) == (0, 255)


def test_overlays_are_drawn_where_asked_for() -> None:
    data_set = image_set(np.zeros((10, 12), "u2"), stored=12)
    data_set.add_new(0x60000010, "US", 2)
    data_set.add_new(0x60000011, "US", 3)
    data_set.add_new(0x60000040, "CS", "G")
    data_set.add_new(0x60000050, "SS", [4, 11])  # partly outside
    data_set.add_new(0x60003000, "OW", bytes((0b00111101, 0)))
    assert _shown(data_set).max() == 0
    shown = _shown(data_set, annotation=frozenset({"overlay"}))
    assert {tuple(place) for place in np.argwhere(shown)} == {(3, 10), (4, 10), (4, 11)}
    cells = np.zeros((10, 12), "u2")
    cells[5, 6] = 1 << 13
    old = image_set(cells, stored=12)
    for tag, vr, value in ((0x10, "US", 10), (0x11, "US", 12), (0x50, "SS", [1, 1]), (0x102, "US", 13)):
        old.add_new(0x60020000 + tag, vr, value)
    assert np.argwhere(_shown(old, annotation=frozenset({"overlay"}))).tolist() == [[5, 6]]


def test_segmented_palettes() -> None:
    # two values, a line of four steps, and the first two segments once more
    values = [0, 2, 10, 20, 1, 4, 100, 2, 2, 0, 0]
    once = [10, 20, 40, 60, 80, 100]
    assert expand_segments(values, 100, 16).tolist() == [*once, *once]
    in_bytes = [*values[:7], 2, 1, 8, 0]  # the second alone, a line from 100 to 100: its offset counts bytes
    assert expand_segments(in_bytes, 100, 16).tolist() == [*once, 100, 100, 100, 100]
    assert expand_segments([0, 1, 7, 1, 3, 7], 2, 16).tolist() == [7, 7]
    for hopeless in ([2, 1, 0, 0], [0, 0] * 70000, [1, 5, 9], [3, 1, 1], [0, 9, 1], [0, 1, 5, 2, 1, 6, 0]):
        with pytest.raises(UnreadableError):
            expand_segments(hopeless, 65536, 16)


@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(1, 40), columns=st.integers(1, 40), down=st.integers(1, 60), across=st.integers(1, 60)
)
def test_resizing_keeps_the_brightness(rows: int, columns: int, down: int, across: int) -> None:
    flat = np.full((rows, columns), 77, "u1")
    assert np.abs(resized(flat, down, across).astype(int) - 77).max() <= 1
    ramp = np.tile(np.linspace(0, 255, columns).astype("u1"), (rows, 1))
    assert (
        abs(float(resized(ramp, down, across).mean()) - float(ramp.mean())) < 10 or columns < 4 or across < 4
    )


def test_viewports_keep_pixels_square() -> None:
    data_set = image_set(RAMP, stored=12)
    assert _shown(data_set, viewport=Viewport(32, 16)).shape == (16, 16)
    data_set.PixelAspectRatio = [2, 1]
    assert _shown(data_set, viewport=Viewport(32, 32)).shape == (32, 16)
    assert _shown(data_set).shape == (64, 64)
    half = _shown(data_set, viewport=Viewport(source_x=0.5, source_width=0.5, relative=True))
    assert half.shape == (64, 32)
    with pytest.raises(UnreadableError):
        _shown(data_set, viewport=Viewport(source_x=64, source_width=3))


def test_profiles_go_along_or_are_applied() -> None:
    rgb = np.full((8, 8, 3), (200, 100, 50), "u1")
    profile = bytes(imagecodecs.cms_profile("adobergb"))
    data_set = image_set(rgb, "RGB", ICCProfile=profile + b"\0" * (len(profile) % 2))
    plain = explicit(data_set)
    assert profile[16:60] in render(plain, EXPLICIT)
    assert profile[16:60] not in render(plain, EXPLICIT, icc="no")
    png = render(plain, EXPLICIT, media_type="image/png")
    assert b"iCCP" in png[:60]
    assert np.array_equal(imagecodecs.png_decode(png), rgb)
    converted = _shown(data_set, icc="srgb")
    assert converted[0, 0, 0] > 210
    data_set.ICCProfile = b"\0" * 200
    assert np.array_equal(_shown(data_set), rgb)


def test_a_high_bit_that_cannot_be_is_taken_for_the_lowest_that_can() -> None:
    right = image_set((np.arange(600).reshape(20, 30) * 6).astype("u2"), stored=12)
    wrong = copy.deepcopy(right)
    wrong.HighBit = 3
    assert np.array_equal(picture(explicit(wrong), EXPLICIT), picture(explicit(right), EXPLICIT))
