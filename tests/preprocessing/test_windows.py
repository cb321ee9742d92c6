"""Windows, crops and cutting: pixels, cells and image places agree under every alignment."""

from __future__ import annotations

import numpy as np
import pytest

from diffpose.model.heatmaps.grid import CROP_PADDING
from diffpose.preprocessing.detectors.interface import crops_from_windows, windows_around
from diffpose.preprocessing.videos.cut import cut_windows


def test_window_holds_the_padded_box_in_the_middle() -> None:
    boxes = np.array([[100.0, 50.0, 160.0, 290.0], [10.0, 10.0, 310.0, 60.0]])
    windows = windows_around(boxes, (128, 96))
    size = windows[:, 2:] * [96, 128]
    np.testing.assert_allclose(
        windows[:, :2] + size / 2, (boxes[:, :2] + boxes[:, 2:]) / 2, atol=1e-3
    )
    np.testing.assert_allclose(size[0, 1], 240 * CROP_PADDING, rtol=1e-6)  # tall: height decides
    np.testing.assert_allclose(size[1, 0], 300 * CROP_PADDING, rtol=1e-6)  # wide: width decides
    assert (windows[:, 2] == windows[:, 3]).all()


@pytest.mark.parametrize("alignment", ["edges", "corners", "stride"])
def test_cell_centres_lie_where_the_convention_says(alignment: str) -> None:
    window = np.array([[30.0, -20.0, 1.5, 2.0]])
    rows, columns, height, width = 256, 192, 64, 48
    x0, y0, w, h = crops_from_windows(window, (rows, columns), alignment)[0]  # type: ignore[arg-type]

    def place(i: float, n_in: int, n_cells: int) -> float:
        """Centre of cell i in px of the input, continuous."""
        if alignment == "edges":
            return (i + 0.5) * n_in / n_cells
        step = (n_in - 1) / (n_cells - 1) if alignment == "corners" else n_in / n_cells
        return i * step + 0.5

    for i, j in ((0, 0), (63, 47), (17, 5)):
        across = 30.0 + 1.5 * place(j, columns, width)
        down = -20.0 + 2.0 * place(i, rows, height)
        assert x0 + (j + 0.5) * w == pytest.approx(across, abs=1e-3)
        assert y0 + (i + 0.5) * h == pytest.approx(down, abs=1e-3)


def test_whole_pixels_are_cut_unchanged() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    cut = cut_windows(frame, np.array([[7.0, 11.0, 1.0, 1.0]]), (20, 30))
    np.testing.assert_array_equal(cut[0], frame[11:31, 7:37])


def test_outside_is_black_and_reduction_is_a_mean() -> None:
    frame = np.full((40, 40, 3), 200, np.uint8)
    frame[::2] = 100
    cut = cut_windows(frame, np.array([[-40.0, -40.0, 4.0, 4.0]]), (30, 30))[0]
    assert (cut[:9] == 0).all()
    assert (cut[:, 21:] == 0).all()
    inner = cut[12:18, 12:18].astype(int)
    assert abs(inner - 150).max() <= 2  # stripes are averaged, not picked


@pytest.mark.parametrize("scale", [0.4, 1.0, 2.7, 6.3])
def test_a_ramp_keeps_its_places(scale: float) -> None:
    # Brightness = x: an output pixel's value tells which place of the image its centre shows.
    frame = np.repeat(np.arange(250, dtype=np.uint8)[None, :, None], 90, 0).repeat(3, 2)
    window = np.array([[40.3, 20.1, scale, scale]])
    cut = cut_windows(frame, window, (8, 24))[0, 4, :, 0].astype(float)
    centres = 40.3 + (np.arange(24) + 0.5) * scale - 0.5
    inside = centres < 240
    assert abs(cut - centres)[inside].max() <= 0.75


def test_frames_smaller_than_the_filter() -> None:
    frame = np.full((2, 3, 3), 90, np.uint8)
    cut = cut_windows(frame, np.array([[0.0, 0.0, 1.0, 1.0], [-5.0, -5.0, 5.0, 5.0]]), (4, 4))
    np.testing.assert_array_equal(cut[0, :2, :3], frame)
    assert (cut[0, 2:] == 0).all()
    assert 0 < cut[1].max() < 90
