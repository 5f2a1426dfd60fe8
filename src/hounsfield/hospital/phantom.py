"""Phantoms: pictures that look enough like a chest and a head to scroll, window and measure. Pure numpy.

Coordinates are millimetres in the patient's sense (PS3.3 C.7.6.2.1.1): x to the left, y to the back,
z to the head.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
Labels = NDArray[np.uint8]


class Grid(NamedTuple):
    """Pixel centres of a square transverse image about the origin."""

    x: Image  # (n,)
    y: Image  # (n,)

    @classmethod
    def of(cls, size: int, field: float) -> Grid:
        """`size` pixels over `field` millimetres."""
        axis = (((np.arange(size) + 0.5) / size - 0.5) * field).astype(np.float32)
        return cls(axis, axis)

    def within(self, x: float, y: float, a: float, b: float) -> tuple[slice, slice, NDArray[np.bool_]]:
        """Bounding box (rows, columns) and mask in it of the ellipse about (x, y) with half axes a and b."""
        left, right = np.searchsorted(self.x, (x - a, x + a))
        top, bottom = np.searchsorted(self.y, (y - b, y + b))
        rows, columns = slice(int(top), int(bottom)), slice(int(left), int(right))
        across = ((self.x[columns] - x) / a) ** 2
        down = ((self.y[rows] - y) / b) ** 2
        return rows, columns, (down[:, None] + across[None, :]) < 1

    def paint(self, image: Image, x: float, y: float, a: float, b: float, value: float) -> None:
        if a > 0 and b > 0:
            rows, columns, mask = self.within(x, y, a, b)
            image[rows, columns][mask] = value


def _dome(z: float, centre: float, half: float) -> float:
    """Half width at height z of a unit sphere stretched to `half` about `centre`; 0 outside."""
    return math.sqrt(max(0.0, 1 - ((z - centre) / half) ** 2))


def smooth(image: Image) -> Image:
    """Binomial 3 x 3, so that edges have a partial volume; the outermost pixels keep their value."""
    out = image.copy()
    out[1:-1] = (image[:-2] + 2 * image[1:-1] + image[2:]) * np.float32(0.25)
    down = out.copy()
    out[:, 1:-1] = (down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]) * np.float32(0.25)
    return out


class Noise:
    """One large field of noise, of which each image takes another window: cheaper than new noise."""

    def __init__(self, size: int, sigma: float, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._size = size
        self._field = (self._random.standard_normal((size + 64, size + 64), np.float32)) * np.float32(sigma)

    def window(self) -> Image:
        row, column = self._random.integers(0, 64, 2)
        return self._field[row : row + self._size, column : column + self._size]


class Chest:
    """Transverse slices of a chest in Hounsfield units; z = 0 is the diaphragm, 320 above the shoulders."""

    FIELD = 380.0  # mm

    def __init__(self, size: int = 512, seed: int = 1) -> None:
        self.grid = Grid.of(size, self.FIELD)
        self._size = size
        self._noise = Noise(size, 12.0, seed)
        random = np.random.default_rng(seed + 1)
        # vessels: straight from the hilum to a point of the lung; side, start, end, radius
        count = 90
        side = np.where(np.arange(count) % 2 == 0, 1.0, -1.0)
        angle = random.uniform(0, 2 * math.pi, count)
        reach = random.uniform(0.5, 0.9, count)
        self._vessels = np.stack(
            [
                side * 40,
                side * (75 + 42 * reach * np.cos(angle)),
                -5 + 68 * reach * np.sin(angle),
                random.uniform(40, 270, count),
                random.uniform(1.2, 3.6, count),
            ],
            axis=1,
        )

    def slice(self, z: float) -> Image:
        """(size, size) float32 Hounsfield units at height z."""
        image = np.full((self._size, self._size), -1000, np.float32)
        self._body(image, z)
        self._lungs(image, z)
        self._mediastinum(image, z)
        self._abdomen(image, z)
        self._bones(image, z)
        image = smooth(image)
        image += self._noise.window()
        return image

    @staticmethod
    def _outline(z: float) -> tuple[float, float, float]:
        """How far into the shoulders (0 to 1), half width and half depth of the trunk."""
        shoulders = max(0.0, min(1.0, (z - 235) / 60))
        return shoulders, 168 - 25 * shoulders, 118 - 10 * shoulders

    def _body(self, image: Image, z: float) -> None:
        paint = self.grid.paint
        paint(image, 0, 150, 178, 10, -150)  # table
        paint(image, 0, 147, 174, 8, -980)
        shoulders, width, depth = self._outline(z)
        paint(image, 0, 10, width, depth, -100)  # fat
        paint(image, 0, 10, width - 12, depth - 12, 50)  # muscle
        if shoulders > 0:
            for side in (-1, 1):
                paint(image, side * 138, 22, 44 * shoulders, 42 * shoulders, 45)
                paint(image, side * 142, 20, 22 * shoulders, 22 * shoulders, 520)
                paint(image, side * 142, 20, 16 * shoulders, 16 * shoulders, 180)

    def _lungs(self, image: Image, z: float) -> None:
        shape = _dome(z, 95, 190)
        if z < -10 or shape == 0:
            return
        for side in (-1, 1):
            self.grid.paint(image, side * 77, 2, 62 * shape, 88 * shape, -860)
        for x0, x1, y1, z1, radius in self._vessels:
            along = (z - 130) / (z1 - 130) if abs(z1 - 130) > 1 else 0.0
            if 0 <= along <= 1:
                taper = radius * (1.2 - along)
                self.grid.paint(
                    image, x0 + (x1 - x0) * along, y1 * along * shape, 1.6 * taper, taper, 40 - 120 * along
                )

    def _mediastinum(self, image: Image, z: float) -> None:
        paint = self.grid.paint
        width = 30 + 8 * _dome(z, 120, 130)
        paint(image, 0, 0, width, 82 * _dome(z, 110, 230), 20)
        paint(image, 0, -45, 16, 22, -95)  # fat before the vessels
        heart = _dome(z, 62, 70)
        paint(image, 26, -18, 62 * heart, 48 * heart, 45)
        paint(image, 40, -12, 36 * heart, 30 * heart, 70)  # left ventricle
        paint(image, -8, -24, 28 * heart, 24 * heart, 62)  # right heart
        if z < 205:
            paint(image, 24, 44, 12, 12, 70)  # descending aorta
        if 90 < z < 205:
            paint(image, -12, -20, 15, 15, 70)  # ascending aorta
        if 190 < z < 215:
            paint(image, 8, 12, 17, 42, 70)  # arch
        if z > 215:
            for x, y, radius in ((18, 5, 5), (6, -8, 5), (-20, -14, 7)):
                paint(image, x, y, radius, radius, 65)
        if z > 165:
            paint(image, 0, 14, 9, 8, -990)  # trachea
        elif z > 115:
            fall = (165 - z) / 50
            for side in (-1, 1):
                paint(image, side * (8 + 30 * fall), 14 + 4 * fall, 7 - 2 * fall, 6 - 2 * fall, -990)
        paint(image, 10, 32, 6, 4, 35)  # oesophagus

    def _abdomen(self, image: Image, z: float) -> None:
        liver, spleen, stomach = _dome(z, -45, 100), _dome(z, -50, 80), _dome(z, -30, 60)
        self.grid.paint(image, -62, 0, 82 * liver, 84 * liver, 60)
        self.grid.paint(image, 98, 40, 38 * spleen, 46 * spleen, 52)
        self.grid.paint(image, 62, -25, 44 * stomach, 40 * stomach, 15)
        self.grid.paint(image, 62, -48, 26 * stomach, 14 * stomach, -950)

    def _bones(self, image: Image, z: float) -> None:
        paint = self.grid.paint
        disc = (z % 26) < 5
        paint(image, 0, 62, 18, 15, 90 if disc else 520)
        paint(image, 0, 62, 15.5, 12.5, 80 if disc else 190)
        if not disc:
            paint(image, 0, 86, 17, 12, 480)
            paint(image, 0, 108, 4, 16, 450)
        paint(image, 0, 84, 8.5, 7.5, 25)  # canal
        if 60 < z < 230:
            paint(image, 0, -86, 17, 6, 420)  # sternum
            paint(image, 0, -86, 14, 3.5, 130)
        self._ribs(image, z)

    def _ribs(self, image: Image, z: float) -> None:
        """Ribs fall from the back to the front, so a slice cuts each at another angle."""
        fall = 110.0
        _, width, depth = self._outline(z)
        for number in range(14):
            angle = math.pi * (number * 27.0 - z) / fall
            if not 0.12 < angle < 2.75:
                continue
            for half, a, b, value in ((0.09, 6.5, 6.0, 520), (0.07, 3.8, 3.2, 220)):
                for at in (angle - half, angle, angle + half):
                    x, y = (width - 29) * math.sin(at), 8 + (depth - 21) * math.cos(at)
                    self.grid.paint(image, x, y, a, b, value)
                    self.grid.paint(image, -x, y, a, b, value)


AIR, FAT, BONE, CSF, GREY, WHITE, MUSCLE, LESION = range(8)


class Head:
    """Transverse slices of a head as tissue labels; z = 0 is the level of the ventricles, in mm."""

    FIELD = 230.0  # mm

    def __init__(self, size: int = 256) -> None:
        self.grid = Grid.of(size, self.FIELD)
        self._size = size
        angle = np.arctan2(self.grid.y[:, None], self.grid.x[None, :])
        # folds of the cortex: the border between grey and white
        self._folds = (0.045 * np.sin(19 * angle) + 0.03 * np.sin(31 * angle + 1)).astype(np.float32)

    def labels(self, z: float, lesion: float) -> Labels:
        """(size, size) labels at height z; `lesion` is the radius in mm of a lesion in the white matter."""
        size = _dome(z, 5, 92)
        x = (self.grid.x[None, :] / max(78 * size, 1)) ** 2
        y = (self.grid.y[:, None] / max(95 * size, 1)) ** 2
        radius = np.sqrt(x + y)
        image = np.zeros((self._size, self._size), np.uint8)
        for limit, label in ((1.0, FAT), (0.955, MUSCLE), (0.93, BONE), (0.86, CSF), (0.83, GREY)):
            image[radius < limit] = label
        image[radius + self._folds < 0.70] = WHITE
        gap = np.abs(self.grid.x) < 1.4
        image[np.where(radius < 0.84, gap[None, :], False) & (np.abs(y) > 0.16)] = CSF  # between the halves
        self._deep(image, z)
        self._ellipse(image, -32, 8, _dome(z, 12, max(lesion, 0.1)) * lesion, 1.0, LESION)
        return image

    def _deep(self, image: Labels, z: float) -> None:
        inside = _dome(z, 8, 34)
        for side in (-1, 1):
            self._ellipse(image, side * 20, 4, 11 * _dome(z, 0, 30), 1.9, GREY)  # deep nuclei
            self._ellipse(image, side * 9, -14, 6 * inside, 2.6, CSF)  # front horns
            self._ellipse(image, side * 15, 26, 6 * inside, 2.4, CSF)  # back horns
            self._ellipse(image, side * 30, -76, 12 * _dome(z, -42, 14), 1.0, CSF)  # eyes
        self._ellipse(image, 0, 2, 2.5 * inside, 4.0, CSF)  # third ventricle

    def _ellipse(self, image: Labels, x: float, y: float, a: float, ratio: float, label: int) -> None:
        if a > 0:
            rows, columns, mask = self.grid.within(x, y, a, a * ratio)
            image[rows, columns][mask] = label
