"""Films of one scene by several calibrated cameras, detected; the truth that they give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from diffpose.platform.base.config import Settings, validate
from diffpose.platform.base.errors import SourceError
from diffpose.platform.base.storage import join
from diffpose.platform.execution.ray_session import ray_session
from diffpose.platform.store.pose_store import PoseStore
from diffpose.platform.workflows.preprocess import print_summary
from diffpose.preprocessing.multiview.calibration_files import Unit
from diffpose.preprocessing.multiview.detected import DetectedViews, detected_views
from diffpose.preprocessing.multiview.views import View, find_views, with_sidecars
from diffpose.preprocessing.pipeline import detect
from diffpose.preprocessing.settings import PreprocessSettings


@dataclass(frozen=True)
class DetectedScene:
    """What was found in the films of a scene.

    Attributes:
        settings: of the preprocessing that found it; its source are the films with sidecars.
        views: the films with their cameras.
        films: their names in the store.
        detected: the same moments side by side.
    """

    settings: PreprocessSettings
    views: list[View]
    films: list[str]
    detected: DetectedViews

    @property
    def store(self) -> PoseStore:
        """Return the store of the detections."""
        return PoseStore.open(self.settings.store)


def detect_scene(
    films: str,
    calibration: str | None,
    unit: Unit | None,
    folder: str,
    recipe: dict[str, Any],
    workers: int | None = None,
) -> DetectedScene:
    """Detect in the films of a scene what a user's preprocessing would, true lenses given.

    Args:
        films: folder or pattern.
        calibration: file or folder; None: with the films.
        unit: of the cameras' places, where the calibration cannot say it.
        folder: a local one for films with sidecars and the store; restartable.
        recipe: what preprocessing is told besides, such as detector and people.
        workers: tasks at once.

    Raises:
        SourceError: fewer than two films, or no calibration, or they do not go together.
    """
    views = find_views(films, calibration, unit)
    if len(views) < 2:
        raise SourceError(f"{films!r} holds one film; a truth takes two or more of one scene.")
    names = with_sidecars(join(folder, "films"), views)
    values = {
        **recipe,
        "source": {"kind": "videos", "uri": join(folder, "films")},
        "store": join(folder, "store"),
        "stages": ["detect"],
        "workers": workers,
    }
    settings = validate(PreprocessSettings, values).with_absolute_uris()
    with ray_session(workers):
        print_summary("detect", detect(settings))
    cameras = [view.camera for view in views]
    found = detected_views(PoseStore.open(settings.store), cameras, names)
    return DetectedScene(settings, views, names, found)


def as_given(settings: Settings, *names: str) -> dict[str, Any]:
    """Return the values of some settings that were given, as a recipe has them."""
    values = settings.model_dump(exclude_unset=True)
    return {name: values[name] for name in names if name in values}
