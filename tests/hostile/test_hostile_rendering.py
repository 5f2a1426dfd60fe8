"""Broken and hostile objects: rendering each is refused with a reason, and costs nothing else."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import imagecodecs
import numpy as np
import psutil
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.sequence import Sequence

from hounsfield.adapters.pixel_pool import PixelPool
from hounsfield.adapters.rendering.renderer import Renderer
from hounsfield.domain.errors import NotFoundError, UnreadableError
from hounsfield.ports.rendering import DataSetReader, Rendering
from hounsfield.wire.dicomfile.errors import MalformedError
from support_rendering import explicit, image_set, picture, render
from support_transcode import EXPLICIT, HTJ2K, J2K, JPEG, JPEG_LOSSLESS, JPEG_LS, RLE, encapsulated

GREY = (np.arange(40 * 40).reshape(40, 40) % 251).astype("u1")
STREAMS = {
    JPEG: bytes(imagecodecs.jpeg8_encode(GREY, level=90)),
    JPEG_LOSSLESS: bytes(imagecodecs.jpeg8_encode(GREY, lossless=True)),
    JPEG_LS: bytes(imagecodecs.jpegls_encode(GREY)),
    J2K: bytes(imagecodecs.jpeg2k_encode(GREY, codecformat="j2k", reversible=True, level=0)),
    HTJ2K: bytes(imagecodecs.htj2k_encode(GREY)),
}
PNG = Rendering(media_type="image/png")
REFUSALS = (UnreadableError, MalformedError, NotFoundError)


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    pool = PixelPool(1)
    yield Renderer(pool, seconds=10)
    pool.close()


def _still_works(renderer: Renderer) -> bool:
    return renderer.render(explicit(image_set(GREY)), EXPLICIT, PNG).startswith(b"\x89PNG")


def test_huge_dimensions_without_pixels(renderer: Renderer) -> None:
    for changes in (
        {"Rows": 65535, "Columns": 65535},
        {"NumberOfFrames": 2**31 - 1},
        {"Rows": 65535, "Columns": 65535, "NumberOfFrames": 2**31 - 1},
        {"BitsAllocated": 65535, "BitsStored": 65535, "HighBit": 65534},
        {"SamplesPerPixel": 65535},
        {"Rows": 0},
    ):
        data_set = image_set(GREY)
        for name, value in changes.items():
            setattr(data_set, name, value)
        with pytest.raises(UnreadableError):
            renderer.render(explicit(data_set), EXPLICIT, Rendering(media_type="image/gif"))
        if "NumberOfFrames" in changes:
            with pytest.raises((UnreadableError, NotFoundError)):
                renderer.render(explicit(data_set), EXPLICIT, Rendering(frames=(2**31 - 1,)))
    assert _still_works(renderer)


@pytest.mark.parametrize("syntax", STREAMS)
@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9])
def test_streams_cut_off(renderer: Renderer, syntax: str, keep: float) -> None:
    stream = STREAMS[syntax][: int(len(STREAMS[syntax]) * keep)]
    with pytest.raises(UnreadableError):
        renderer.render(encapsulated([[stream]], (40, 40), bits=8), syntax, PNG)
    assert _still_works(renderer)


@pytest.mark.parametrize("syntax", [JPEG, JPEG_LOSSLESS, JPEG_LS, J2K, RLE])
def test_noise_in_place_of_a_stream(renderer: Renderer, syntax: str) -> None:
    noise = np.random.default_rng(7).bytes(4000)
    with pytest.raises(UnreadableError):
        renderer.render(encapsulated([[noise]], (40, 40), bits=8), syntax, PNG)
    assert _still_works(renderer)


def test_a_process_that_dies_costs_one_request(renderer: Renderer) -> None:
    assert _still_works(renderer)
    child = max(psutil.Process().children(), key=lambda process: process.create_time())
    child.kill()
    child.wait(10)
    assert _still_works(renderer)


def test_a_reader_that_fails_is_told_and_costs_nothing_else(renderer: Renderer) -> None:
    def failing(offset: int, length: int) -> bytes:
        if offset:
            raise OSError("the disk is gone")
        return explicit(image_set(GREY))[:length].ljust(length, b"\0")

    with pytest.raises(OSError, match="disk is gone"):
        renderer.render(DataSetReader(failing, 1 << 23), "1.2.840.10008.1.2.1.99", PNG)
    assert _still_works(renderer)


def _child() -> psutil.Process:
    return max(psutil.Process().children(), key=lambda process: process.create_time())


def test_a_decoder_that_never_ends_ends_its_process(renderer: Renderer) -> None:
    """By the processor's time that it takes, which is less for a small frame."""
    endless = (
        "from hounsfield.adapters.rendering.frame_pixels import _bounded\nwith _bounded(1600):\n  while 1: 0"
    )
    ended = subprocess.run([sys.executable, "-c", endless], timeout=100, check=False)
    assert ended.returncode == -signal.SIGPROF

    def ending(offset: int, length: int) -> bytes:
        if offset:
            child = _child()
            child.send_signal(signal.SIGPROF)
            while child.status() != psutil.STATUS_ZOMBIE:  # whoever waits for it takes its exit code away
                time.sleep(0.01)
        return explicit(image_set(GREY))[:length].ljust(length, b"\0")

    assert _still_works(renderer)
    with pytest.raises(UnreadableError, match="longer than so many pixels"):
        renderer.render(DataSetReader(ending, 1 << 23), "1.2.840.10008.1.2.1.99", PNG)
    assert _still_works(renderer)


def test_many_on_an_event_loop_and_on_threads() -> None:
    """More than there are processes: all are answered, each with its own."""
    pool = PixelPool(2)
    renderer = Renderer(pool)
    pictures = [explicit(image_set(GREY // (n + 1))) for n in range(12)]
    alone = [render(data, EXPLICIT, media_type="image/png") for data in pictures]

    async def all_at_once() -> list[bytes]:
        here = [renderer.render_here(data, EXPLICIT, PNG) for data in pictures]
        beside = [asyncio.to_thread(renderer.render, data, EXPLICIT, PNG) for data in pictures]
        return list(await asyncio.gather(*here, *beside))

    assert asyncio.run(all_at_once()) == alone * 2
    assert _children_of(pool) == 2
    pool.close()


def _children_of(pool: PixelPool) -> int:
    return sum(process.alive for process in pool._running)


def test_what_goes_wrong_on_an_event_loop(renderer: Renderer) -> None:
    noise = encapsulated([[b"noise"]], (40, 40), bits=8)
    good = explicit(image_set(GREY))

    async def refused_and_dead() -> None:
        with pytest.raises(UnreadableError):
            await renderer.render_here(noise, JPEG, PNG)
        with pytest.raises(NotFoundError):
            await renderer.render_here(good, EXPLICIT, Rendering(frames=(9,)))
        _child().suspend()
        waiting = asyncio.ensure_future(renderer.render_here(good, EXPLICIT, PNG))
        behind = asyncio.ensure_future(renderer.render_here(good, EXPLICIT, PNG))
        await asyncio.sleep(0)
        _child().kill()
        with pytest.raises(UnreadableError, match="ended its process"):
            await waiting
        assert (await behind).startswith(b"\x89PNG")

    async def given_up() -> None:
        await renderer.render_here(good, EXPLICIT, PNG)
        child = _child()
        child.suspend()
        waiting = asyncio.ensure_future(renderer.render_here(good, EXPLICIT, PNG))
        never = asyncio.ensure_future(renderer.render_here(good, EXPLICIT, PNG))
        await asyncio.sleep(0)
        never.cancel()  # while it waits for its turn
        waiting.cancel()
        for one in (waiting, never):
            with pytest.raises(asyncio.CancelledError):
                await one
        assert (await renderer.render_here(good, EXPLICIT, PNG)).startswith(b"\x89PNG")
        assert not child.is_running()  # its answer would have been taken for the next one's

    asyncio.run(refused_and_dead())
    asyncio.run(given_up())
    assert _still_works(renderer)


def test_answers_larger_than_the_shared_memory_on_an_event_loop(renderer: Renderer) -> None:
    noise = np.random.default_rng(3).integers(0, 255, (1500, 1300, 3)).astype("u1")
    data = explicit(image_set(noise, "RGB"))
    shown = asyncio.run(renderer.render_here(data, EXPLICIT, PNG))
    assert len(shown) > 1 << 22
    assert np.array_equal(imagecodecs.png_decode(shown), noise)


def _palette_set(entries: int, first: int = 0, bits: int = 16, count: int | None = None) -> pydicom.Dataset:
    data_set = image_set(GREY, "PALETTE COLOR")
    table = (np.arange(entries) * 257 % 65536).astype("<u2").tobytes()
    for place in (1, 2, 3):
        described = [entries if count is None else count, first, bits]
        data_set.add_new((0x0028, 0x1100 + place), "US", described)
        data_set.add_new((0x0028, 0x1200 + place), "OW", table)
    return data_set


def test_palettes_shorter_than_their_index() -> None:
    shown = picture(explicit(_palette_set(4)), EXPLICIT)
    assert shown.shape == (40, 40, 3)
    assert np.array_equal(shown[..., 0], np.minimum(GREY, 3))
    described_longer = picture(explicit(_palette_set(4, count=256)), EXPLICIT)
    assert np.array_equal(described_longer, shown)


@settings(max_examples=60, deadline=None)
@given(
    described=st.lists(st.integers(0, 65535), min_size=0, max_size=4),
    data=st.binary(max_size=600),
    segmented=st.booleans(),
)
def test_any_palette_gives_an_image_or_a_refusal(described: list[int], data: bytes, segmented: bool) -> None:
    data_set = image_set(GREY, "PALETTE COLOR")
    for place in (1, 2, 3):
        if described:
            data_set.add_new((0x0028, 0x1100 + place), "US", described)
        data_set.add_new(
            (0x0028, (0x1220 if segmented else 0x1200) + place), "OW", data + b"\0" * (len(data) % 2)
        )
    try:
        assert picture(explicit(data_set), EXPLICIT).shape == (40, 40, 3)
    except REFUSALS:
        pass


@settings(max_examples=60, deadline=None)
@given(
    described=st.lists(st.integers(0, 65535), min_size=3, max_size=3),
    data=st.binary(max_size=300),
    sequence=st.sampled_from(["ModalityLUTSequence", "VOILUTSequence"]),
    signed=st.booleans(),
)
def test_any_lookup_table_gives_an_image_or_a_refusal(
    described: list[int], data: bytes, sequence: str, signed: bool
) -> None:
    data_set = image_set(GREY.astype("i2" if signed else "u2"))
    item = pydicom.Dataset()
    item.add_new(0x00283002, "US", described)
    item.add_new(0x00283006, "OW", data + b"\0" * (len(data) % 2))
    setattr(data_set, sequence, Sequence([item]))
    try:
        assert picture(explicit(data_set), EXPLICIT).shape == (40, 40)
    except REFUSALS:
        pass


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_flipped_bytes_of_a_data_set(data: st.DataObject) -> None:
    whole = bytearray(explicit(_palette_set(256)))
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, 700))] = data.draw(st.integers(0, 255))
    try:
        render(bytes(whole), EXPLICIT, media_type="image/png", annotation=frozenset({"overlay"}))
    except REFUSALS:
        pass


def test_a_report_with_loops_and_depth_and_script() -> None:
    root = pydicom.Dataset()
    root.SOPClassUID, root.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.88.33", "1.2.3"
    root.PatientName = "<script>alert(1)</script>"
    item = pydicom.Dataset()
    item.RelationshipType = "CONTAINS"
    item.ReferencedContentItemIdentifier = [1]  # its own parent
    inner = item
    for _ in range(40):
        outer = pydicom.Dataset()
        outer.ValueType, outer.TextValue = "TEXT", '"><img src=x onerror=alert(1)>'
        outer.ContentSequence = Sequence([inner])
        inner = outer
    root.ContentSequence = Sequence([inner])
    page = render(explicit(root), EXPLICIT, media_type="text/html").decode()
    assert "<script" not in page
    assert "<img" not in page
    assert 'href="#i1"' in page


def test_waveforms_that_claim_more_than_they_have() -> None:
    data_set = pydicom.Dataset()
    data_set.SOPClassUID, data_set.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.9.1.1", "1.2.3"
    group = pydicom.Dataset()
    group.NumberOfWaveformChannels, group.NumberOfWaveformSamples = 65535, 2**32 - 1
    group.SamplingFrequency = "1000"
    group.WaveformBitsAllocated, group.WaveformSampleInterpretation = 16, "SS"
    group.add_new(0x54001010, "OW", bytes(4000))
    data_set.WaveformSequence = Sequence([group])
    with pytest.raises(UnreadableError):
        render(explicit(data_set), EXPLICIT, media_type="image/svg+xml")
