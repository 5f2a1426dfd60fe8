"""Waveforms as a drawing on millimetre paper (PS3.3 C.10.9): SVG, every channel in a row of its own."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from hounsfield.adapters.rendering.page import date, person, time
from hounsfield.adapters.rendering.report import code
from hounsfield.domain.errors import UnreadableError
from hounsfield.wire.dicomfile.outline import Outline

_WAVEFORMS, _CHANNELS = 0x54000100, 0x003A0200
_BITS, _INTERPRETATION, _DATA, _PADDING = 0x54001004, 0x54001006, 0x54001010, 0x5400100A
_KINDS = {"SB": "i1", "UB": "u1", "SS": "i2", "US": "u2", "SL": "i4", "UL": "u4"}
#: Millivolts of a unit (UCUM).
_MILLIVOLTS = {"mV": 1.0, "uV": 1e-3, "V": 1e3, "nV": 1e-6}

#: Bounds of one drawing: groups, channels, bytes of samples; points of a line for each millimetre.
_MOST_GROUPS, _MOST_CHANNELS, _MOST_BYTES, _POINTS = 8, 64, 1 << 26, 10
#: Millimetres: of a second and of a millivolt, the drawing's greatest width, margins, the least row.
_SPEED, _GAIN, _WIDEST, _LEFT, _TOP, _ROW = 25.0, 10.0, 2500.0, 22.0, 22.0, 20.0


@dataclass(frozen=True)
class _Channel:
    label: str
    unit: str
    values: Any  # in its unit; NaN where there is no sample
    frequency: float


def waveform(elements: Outline) -> bytes:
    """Raises UnreadableError, MalformedError."""
    channels: list[_Channel] = []
    for group in elements.items(_WAVEFORMS, most=_MOST_GROUPS):
        channels += _channels(group, _MOST_CHANNELS - len(channels))
    if not channels:
        raise UnreadableError("the object has no waveform that can be drawn")
    return _Drawing(channels, _title(elements)).svg()


def _title(elements: Outline) -> str:
    parts = (
        person(elements.text(0x00100010)),
        elements.text(0x00100020),
        date(elements.text(0x00080020)),
        f"{date(elements.text(0x0008002A)[:8])} {time(elements.text(0x0008002A)[8:])}".strip(),
        elements.text(0x00081030),
    )
    return " · ".join(dict.fromkeys(filter(None, parts)))


def _channels(group: Outline, most: int) -> list[_Channel]:
    """The channels of a multiplex group, at most `most`."""
    count, samples = group.integer(0x003A0005, 0), group.integer(0x003A0010, 0)
    frequency = float(group.number(0x003A001A, 0))
    kind = _KINDS.get(group.text(_INTERPRETATION).upper())
    if kind is None or count <= 0 or samples <= 0 or not 0 < frequency < 1e9:
        return []
    data = group.raw(_DATA)
    width = np.dtype(kind).itemsize
    order = group.layout.order if group.vr(_DATA) == "OW" else "<"
    samples = min(samples, len(data) // (count * width), _MOST_BYTES // (count * width))
    if not samples:
        return []
    array = np.frombuffer(data, f"{order}{kind}", samples * count).reshape(samples, count)
    padding = group.raw(_PADDING)
    absent = int(np.frombuffer(padding[:width], f"{order}{kind}")[0]) if len(padding) >= width else None
    found = []
    for n, definition in enumerate(group.items(_CHANNELS, most=min(count, max(most, 0)))):
        values = array[:, n].astype("f8")
        if absent is not None:
            values[array[:, n] == absent] = np.nan
        sensitivity = definition.number(0x003A0210, 1) * (definition.number(0x003A0212, 1) or 1)
        values = (values * (sensitivity or 1)) + definition.number(0x003A0213, 0)
        units = definition.item(0x003A0211)
        unit = units.text(0x00080100) if units is not None else ""
        label = definition.text(0x003A0203) or code(definition.item(0x003A0208)) or f"channel {n + 1}"
        found.append(_Channel(label, unit, values, frequency))
    return found


class _Drawing:
    def __init__(self, channels: list[_Channel], title: str) -> None:
        self._channels = channels
        self._title = title
        longest = max(len(channel.values) / channel.frequency for channel in channels)
        self._speed = min(_SPEED, _WIDEST / longest)
        self._seconds = longest
        self._pieces: list[str] = []

    def svg(self) -> bytes:
        y = _TOP
        for channel in self._channels:
            y += self._row(channel, y)
        width, height = _LEFT + self._seconds * self._speed + 8, y + 6
        speed = f"{self._speed:.4g} mm/s"
        grid = (
            '<pattern id="s" width="1" height="1" patternUnits="userSpaceOnUse">'
            '<path d="M1 0H0V1" fill="none" stroke="#f6cfcf" stroke-width=".08"/></pattern>'
            '<pattern id="g" width="5" height="5" patternUnits="userSpaceOnUse"><rect width="5" height="5" '
            'fill="url(#s)"/><path d="M5 0H0V5" fill="none" stroke="#e9a0a0" stroke-width=".18"/></pattern>'
        )
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.1f}mm" height="{height:.1f}mm" '
            f'viewBox="0 0 {width:.1f} {height:.1f}"><title>{_clean(self._title)}</title><defs>{grid}</defs>'
            '<rect width="100%" height="100%" fill="#fff"/><rect width="100%" height="100%" fill="url(#g)"/>'
            '<g font-family="sans-serif" font-size="3.6" fill="#1a2430">'
            f'<text x="4" y="7">{_clean(self._title)}</text>'
            f'<text x="4" y="12.5" font-size="3">{speed}</text></g>'
        )
        return f"{head}{''.join(self._pieces)}</svg>\n".encode()

    def _row(self, channel: _Channel, top: float) -> float:
        """Draw one channel; the height it takes."""
        values = channel.values
        real = values[np.isfinite(values)]
        low, high = (float(real.min()), float(real.max())) if real.size else (0.0, 0.0)
        middle = float(np.median(real)) if real.size else 0.0
        scale, mark, gain = self._scale(channel, high - low)
        above, below = min((high - middle) * scale, 60), min((middle - low) * scale, 60)
        height = max(_ROW, above + below + 6)
        base = top + 3 + max(above, (height - 6 - below + above) / 2)
        short = channel.label.removeprefix("Lead ").split(" (")[0][:12]
        note = f"{_clean(short)}<title>{_clean(channel.label)}</title>"
        self._pieces.append(
            f'<text x="4" y="{base - 3:.1f}" font-family="sans-serif" font-size="3.6" font-weight="700">'
            f"{note}</text>"
            f'<text x="4" y="{base + 1:.1f}" font-family="sans-serif" font-size="2.4" fill="#56657a">'
            f"{_clean(gain)}</text>"
            f'<path d="M15 {base:.2f}h1v{-mark:.2f}h3v{mark:.2f}h1" fill="none" stroke="#1a2430" '
            'stroke-width=".25"/>'
            f'<path d="{self._line(channel, base, middle, scale)}" fill="none" stroke="#0b1e38" '
            'stroke-width=".3" stroke-linejoin="round"/>'
        )
        return height

    def _scale(self, channel: _Channel, span: float) -> tuple[float, float, str]:
        """Millimetres of a unit, height of the calibration mark, and what it stands for."""
        millivolts = _MILLIVOLTS.get(channel.unit)
        if millivolts is not None and span * millivolts * _GAIN <= 120:
            return _GAIN * millivolts, _GAIN, "10 mm/mV"
        step = 10.0 ** np.floor(np.log10(span)) if 0 < span < 1e300 else 1.0
        scale = 30 / span if 0 < span < 1e300 else 1.0
        return float(scale), float(step * scale), f"mark {step:g} {channel.unit}".strip()

    def _line(self, channel: _Channel, base: float, middle: float, scale: float) -> str:
        """Path data: of many samples the least and the greatest of each stretch."""
        values = channel.values
        at = np.arange(len(values))
        width = len(values) / channel.frequency * self._speed
        most = max(int(width * _POINTS), 100)
        if len(values) > most:
            stretch = -(-len(values) * 2 // most)
            whole = len(values) // stretch * stretch
            parts = np.nan_to_num(values[:whole], nan=middle).reshape(-1, stretch)
            ends = np.sort(np.stack([parts.argmin(1), parts.argmax(1)], 1), axis=1)
            at = (ends + np.arange(len(parts))[:, None] * stretch).ravel()
        x = _LEFT + at / channel.frequency * self._speed
        y = base - np.clip((values[at] - middle) * scale, -60, 60)
        pieces, pen = [], "M"
        for across, down in zip(x.tolist(), y.tolist(), strict=True):
            if down != down:  # no sample: the line is broken
                pen = "M"
                continue
            pieces.append(f"{pen}{across:.2f} {down:.2f}")
            pen = "L"
        return "".join(pieces)


def _clean(text: str) -> str:
    """Without what XML 1.0 has no place for."""
    return escape("".join(c for c in text if c >= " " and c not in "￾￿"))
