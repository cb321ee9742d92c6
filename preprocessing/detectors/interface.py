"""What a detector that looks at pixels offers, and where its input and its heatmaps lie.

All places are continuous image coordinates in px: (0, 0) is the top-left corner of the image, the
centre of its first pixel is (0.5, 0.5). A window ``(x0, y0, w, h)`` says where a detector's input
lies: its top-left corner and the size of one input pixel, in px of the image, so that input pixel
(row i, column j) covers x0 + j w .. x0 + (j + 1) w across and y0 + i h .. y0 + (i + 1) h down.
A crop (diffpose.model.heatmaps.grid) says the same of the cells of a heatmap. Which crop a window
leads to depends on how a network was trained: see crops_from_windows.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from diffpose.model.heatmaps.grid import CROP_PADDING, HEIGHT, WIDTH
from diffpose.preprocessing.records.kinds import DetectorKind, Material

# How the cells of a network's grid lie over its input:
#   edges    the grid's outer edges are the input's (half-pixel convention)
#   corners  the first and last cell's centres lie on the first and last input pixel's centres (UDP)
#   stride   cell i's centre lies on the centre of input pixel i * stride (HRNet, CPN and older)
Alignment = Literal["edges", "corners", "stride"]


class HeatmapDetector(Protocol):
    """A detector of the 17 joints of one person in a window of an image."""

    @property
    def version(self) -> str:
        """Name and version of network and weights; two detectors that differ differ here."""
        ...

    @property
    def input_size(self) -> tuple[int, int]:
        """Rows and columns of the pixels that it wants."""
        ...

    def detect(
        self, pixels: NDArray[np.uint8], windows: NDArray[np.floating]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Find the joints of B people.

        Args:
            pixels: (B, rows, columns, 3), RGB, of ``input_size``.
            windows: (B, 4), where the pixels lie in their images.

        Returns:
            heatmaps (B, 17, 64, 48), H36M-17 order: at least 0, finite, each with some cell above
            0, proportional to the probability that the joint lies in the cell; and their crops
            (B, 4) in px of the image.
        """
        ...


@runtime_checkable
class PoseHeatmapDetector(HeatmapDetector, Protocol):
    """A detector that also says where the joints are in space."""

    def detect_with_pose(
        self, pixels: NDArray[np.uint8], windows: NDArray[np.floating]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Find the joints of B people; as ``detect``, and besides

        Returns:
            poses (B, 17, 3), mm, root-relative, in the axes of a camera that looks straight at
            the window's middle (x right, y down, z away from it); NaN where it gives none.
        """
        ...


class PixelDetectorKind(DetectorKind):
    """Base of the settings of detectors that look at pictures."""

    reads: ClassVar[Material] = "pictures"

    @abstractmethod
    def crop_size(self) -> tuple[int, int]:
        """Return the rows and columns of the pixels that it wants, without loading its weights."""

    @abstractmethod
    def open(self, device: str) -> HeatmapDetector:
        """Load it.

        Raises:
            SourceError: its weights or the package that runs it are missing, or are something else.
        """


class PersonFinder(Protocol):
    """A detector of people in whole frames."""

    @property
    def version(self) -> str:
        """Name and version of network and weights."""
        ...

    def find(self, frames: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """Find people in B frames of one size, (B, H, W, 3) RGB.

        Returns:
            per frame (n, 5): x0, y0, x1, y1 of the person's box in px of the frame, and a score
            0 .. 1; best first, one row per person.
        """
        ...


def windows_around(
    boxes_px: NDArray[np.floating], input_size: tuple[int, int]
) -> NDArray[np.float32]:
    """Return the windows (B, 4) around person boxes (B, 4: x0, y0, x1, y1), padded, square pixels.

    The window has the input's shape; the box, widened by CROP_PADDING, just fits.
    """
    boxes = np.asarray(boxes_px, dtype=np.float64)
    rows, columns = input_size
    size = np.maximum((boxes[:, 2:] - boxes[:, :2]) * CROP_PADDING, 16.0)
    pixel = np.maximum(size[:, 0] / columns, size[:, 1] / rows)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    corner = centre - 0.5 * pixel[:, None] * np.array([columns, rows])
    return np.concatenate([corner, pixel[:, None], pixel[:, None]], axis=1).astype(np.float32)


def crops_from_windows(
    windows: NDArray[np.floating],
    input_size: tuple[int, int],
    alignment: Alignment,
    grid: tuple[int, int] = (HEIGHT, WIDTH),
) -> NDArray[np.float32]:
    """Return where the cells of a network's grid lie in the image.

    Args:
        windows: (B, 4).
        input_size: rows, columns of the network's input.
        alignment: how its grid lies over its input.
        grid: rows, columns of the grid.

    Returns:
        (B, 4) crops: corner of the first cell and size of a cell, px.
    """
    place = np.asarray(windows, dtype=np.float64)
    inputs = np.array(input_size[::-1], dtype=np.float64)  # across, down
    cells = np.array(grid[::-1], dtype=np.float64)
    pixel = place[:, 2:]
    if alignment == "edges":
        cell = pixel * inputs / cells
        return np.concatenate([place[:, :2], cell], axis=1).astype(np.float32)
    step = (inputs - 1) / (cells - 1) if alignment == "corners" else inputs / cells
    cell = pixel * step
    # the first cell's centre is the first input pixel's centre
    corner = place[:, :2] + 0.5 * pixel - 0.5 * cell
    return np.concatenate([corner, cell], axis=1).astype(np.float32)
