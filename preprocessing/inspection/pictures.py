"""Looking at a stored clip: frames with heatmaps, keypoints and mixture ellipses over them."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import av
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from diffpose.model.geometry.pinhole import project
from diffpose.model.geometry.skeleton import EDGES, JOINT_NAMES, LEFT, RIGHT
from diffpose.model.heatmaps.grid import HEIGHT, WIDTH
from diffpose.model.mixtures.gaussian_mixture import GaussianMixture, joint_kernels
from diffpose.platform.base.config import validate
from diffpose.platform.base.errors import StoreError
from diffpose.platform.base.storage import write_bytes
from diffpose.platform.store.clips import Clip
from diffpose.platform.store.observations import read_observations
from diffpose.platform.store.pose_store import PoseStore
from diffpose.preprocessing.derived.mixture_stages import bridging_poses
from diffpose.preprocessing.settings import PreprocessSettings
from diffpose.preprocessing.sources.registry import source_of

# Left, right, middle: apart also for those who cannot tell red from green.
_LEFT_COLOUR, _RIGHT_COLOUR, _MIDDLE_COLOUR = (64, 156, 255), (255, 140, 0), (240, 240, 240)
_TRUTH_COLOUR = (80, 220, 120)
_VIEW_HEIGHT_PX = 480  # of the person's part of the frame, in a picture


@dataclass(frozen=True)
class Ellipses:
    """Mixture kernels seen by the camera.

    Attributes:
        centre_px: (R, 17, M, 2).
        covariance_px2: (R, 17, M, 2, 2).
        weight: (R, 17, M).
    """

    centre_px: NDArray[np.float64]
    covariance_px2: NDArray[np.float64]
    weight: NDArray[np.float64]


def find_clip(store: PoseStore, name: str) -> Clip:
    """Return the clip whose id begins with ``name``.

    Raises:
        StoreError: there is none, or there are several.
    """
    clips = store.clips()
    found = [clip for clip in clips if clip.clip.startswith(name)]
    if len(found) != 1:
        some = ", ".join(f"{c.clip} ({c.source})" for c in (found or clips)[:5])
        raise StoreError(
            f"{len(found)} clips of {store.uri!r} have an id that begins with {name!r}; give one "
            f"of them in full, for example {some}."
        )
    return found[0]


def mixture_ellipses(store: PoseStore, group: str, rows: tuple[int, int]) -> Ellipses:
    """Project the mixtures of rows first..stop back into the image (linearised at the means)."""
    attributes = store.mixture_attributes(group)
    spec = attributes.spec
    seen = read_observations(store, *rows)
    translation = seen.detections().translation_mm(bridging_poses(seen, attributes))
    parts = (
        torch.from_numpy(store.read(f"mixtures/{group}/{name}", *rows).astype(np.float32))
        for name in ("weights", "means_mm", "scale_tril_mm")
    )
    weights, means, covariances = (
        part.double().numpy() for part in joint_kernels(GaussianMixture(*parts), spec)
    )
    points = means + translation.double().numpy()[:, None, None]
    camera = seen.camera.astype(np.float64)[:, None, None]
    fx, fy, z = camera[..., 0], camera[..., 1], points[..., 2]
    slope = np.zeros((*points.shape[:-1], 2, 3))
    slope[..., 0, 0], slope[..., 1, 1] = fx / z, fy / z
    slope[..., 0, 2] = -fx * points[..., 0] / z**2
    slope[..., 1, 2] = -fy * points[..., 1] / z**2
    flat = slope @ covariances @ np.swapaxes(slope, -1, -2)
    return Ellipses(project(points, camera), flat, weights)


def clip_pictures(
    store: PoseStore, clip: Clip, group: str | None, offsets: Sequence[int]
) -> Iterator[Image.Image]:
    """Draw some frames of a clip, cut to the person.

    Args:
        store: that holds it.
        clip: one of its clips.
        group: mixtures to draw as ellipses of one standard deviation; None for none.
        offsets: frames of the clip, ascending.
    """
    frames = _frames(store, clip, offsets)
    for offset in offsets:
        row = clip.first_row + offset
        pixels = next(frames)
        seen = read_observations(store, row, row + 1)
        assert seen.heatmaps is not None
        ellipses = mixture_ellipses(store, group, (row, row + 1)) if group else None
        pose = store.read("pose_3d", row, row + 1)[0]
        truth = None
        if np.isfinite(pose).all():
            root = store.read("root_position", row, row + 1)[0]
            truth = project((pose + root).astype(np.float64), seen.camera[0])
        time_s = float(store.read("timestamp_s", row, row + 1)[0])
        view = _View(pixels, seen.crops[0])
        view.heatmaps(seen.heatmaps[0])
        if ellipses is not None:
            view.ellipses(ellipses)
        if truth is not None:
            view.skeleton(truth, colour=_TRUTH_COLOUR)
        view.skeleton(seen.keypoints_px[0])
        yield view.picture(
            f"{clip.source}  {time_s:.2f} s" + ("" if truth is None else "  truth green")
        )


def contact_sheet(pictures: Sequence[Image.Image], columns: int = 4) -> Image.Image:
    """Put pictures side by side, row by row."""
    width, height = max(p.width for p in pictures), max(p.height for p in pictures)
    n_rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (min(columns, len(pictures)) * width, n_rows * height), "black")
    for i, picture in enumerate(pictures):
        sheet.paste(picture, (i % columns * width, i // columns * height))
    return sheet


def write_picture(uri: str, picture: Image.Image) -> None:
    """Write a PNG atomically."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    write_bytes(uri, buffer.getvalue())


def write_film(uri: str, pictures: Iterator[Image.Image], fps: float) -> int:
    """Write pictures as H.264 mp4; returns their number."""
    buffer = io.BytesIO()
    count = 0
    with av.open(buffer, "w", format="mp4") as container:
        stream = None
        for picture in pictures:
            if stream is None:
                stream = container.add_stream("libx264", rate=max(round(fps), 1))
                stream.width, stream.height = picture.width // 2 * 2, picture.height // 2 * 2
                stream.pix_fmt = "yuv420p"
                stream.options = {"crf": "20", "preset": "veryfast"}
            even = picture.crop((0, 0, stream.width, stream.height))
            frame = av.VideoFrame.from_ndarray(np.asarray(even), format="rgb24")
            container.mux(stream.encode(frame))
            count += 1
        if stream is not None:
            container.mux(stream.encode(None))
    write_bytes(uri, buffer.getvalue())
    return count


class _View:
    """The part of a frame around a person, enlarged, to draw on."""

    def __init__(self, pixels: NDArray[np.uint8], crop: NDArray[np.float32]) -> None:
        x0, y0, cell_w, cell_h = (float(value) for value in crop)
        self.corner = np.array([x0, y0])
        self.scale = _VIEW_HEIGHT_PX / (HEIGHT * cell_h)
        width = round(WIDTH * cell_w * self.scale)
        box = (x0, y0, x0 + WIDTH * cell_w, y0 + HEIGHT * cell_h)
        image = Image.fromarray(pixels)
        self.image = image.transform(
            (width, _VIEW_HEIGHT_PX), Image.Transform.EXTENT, box, Image.Resampling.BILINEAR
        )

    def heatmaps(self, heatmaps: NDArray[np.uint8]) -> None:
        """Tint the image: warm where some joint may be."""
        strength = heatmaps.max(axis=0).astype(np.float64) / 255.0
        mask = Image.fromarray((np.sqrt(strength) * 150).astype(np.uint8)).resize(self.image.size)
        self.image.paste(Image.new("RGB", self.image.size, (255, 60, 60)), mask=mask)

    def ellipses(self, ellipses: Ellipses) -> None:
        """Draw each kernel's one-sigma ellipse, fainter for smaller weights."""
        layer = Image.new("RGBA", self.image.size)
        draw = ImageDraw.Draw(layer)
        turn = np.linspace(0, 2 * np.pi, 33)
        circle = np.stack([np.cos(turn), np.sin(turn)])
        for joint in range(len(JOINT_NAMES)):
            for m in range(ellipses.weight.shape[2]):
                values, vectors = np.linalg.eigh(ellipses.covariance_px2[0, joint, m])
                radii = np.sqrt(np.maximum(values, 0.0))
                outline = ellipses.centre_px[0, joint, m] + (vectors @ (radii[:, None] * circle)).T
                alpha = int(60 + 195 * min(float(ellipses.weight[0, joint, m]), 1.0))
                draw.line(self._places(outline), fill=(*_colour(joint), alpha), width=1)
        self.image = Image.alpha_composite(self.image.convert("RGBA"), layer).convert("RGB")

    def skeleton(
        self, points_px: NDArray[np.floating], colour: tuple[int, int, int] | None = None
    ) -> None:
        """Draw bones and joints; left blue and right orange unless a colour is given."""
        draw = ImageDraw.Draw(self.image)
        for a, b in EDGES:
            draw.line(self._places(points_px[[a, b]]), fill=colour or _colour(b), width=2)
        for j, (x, y) in enumerate(self._places(points_px)):
            draw.ellipse((x - 2.5, y - 2.5, x + 2.5, y + 2.5), fill=colour or _colour(j))

    def picture(self, caption: str) -> Image.Image:
        """Return the picture with a caption."""
        ImageDraw.Draw(self.image).text((5, 4), caption, fill="white", stroke_width=1,
                                        stroke_fill="black")  # fmt: skip
        return self.image

    def _places(self, points_px: NDArray[np.floating]) -> list[tuple[float, float]]:
        return [(float(x), float(y)) for x, y in (points_px - self.corner) * self.scale]


def _colour(joint: int) -> tuple[int, int, int]:
    if joint in LEFT:
        return _LEFT_COLOUR
    return _RIGHT_COLOUR if joint in RIGHT else _MIDDLE_COLOUR


def _frames(store: PoseStore, clip: Clip, offsets: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
    """Yield the clip's frames; plain grey where the source has no pixels (motion capture)."""
    settings = validate(PreprocessSettings, {**store.attributes["config"], "store": store.uri})
    yield from source_of(settings).frames(store.uri, clip, offsets)
