"""Clips as a store's table has them."""

from __future__ import annotations

from diffpose.platform.store.clips import Clip, clip_id


def made_clip(first_row: int, n_rows: int, **changes: object) -> Clip:
    """A finished training clip; what a test does not care about has some value."""
    values = {
        "clip": clip_id("a.bvh", first_row, n_rows, "camera_0"),
        "source": "a.bvh",
        "subject": "train_00",
        "action": "walk",
        "camera": "camera_0",
        "split": "train",
        "fps": 9.99,
        "width": 1000,
        "height": 1002,
        "first_frame": 0,
        "first_row": first_row,
        "n_rows": n_rows,
        "status": "done",
        "error": "",
    }
    return Clip.model_validate({**values, **changes})
