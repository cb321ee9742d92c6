"""People in whole frames by RT-DETR through transformers (Zhao et al., CVPR 2024)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diffpose.platform.base.errors import SourceError
from diffpose.preprocessing.detectors.vitpose import load_pretrained, weights_digest
from diffpose.preprocessing.videos.cut import cut_windows

_SIDE = 640  # px, square, aspect not kept: as it was trained


class RtDetrFinder:
    """Frames to person boxes."""

    def __init__(self, model: str, threshold: float, device: str = "cpu") -> None:
        """Load a model: a folder of save_pretrained or a hub name.

        Raises:
            SourceError: transformers or the model is missing, or it knows no class "person".
        """
        self.network = load_pretrained("RTDetrForObjectDetection", model).to(device)
        labels = {str(name).lower(): int(i) for i, name in self.network.config.id2label.items()}
        if "person" not in labels:
            some = ", ".join(list(labels)[:8])
            raise SourceError(f"The model {model!r} knows no class 'person'; it knows {some}, ...")
        self.person, self.threshold, self.device = labels["person"], threshold, device
        self.version = f"rtdetr-{weights_digest(self.network)}"

    def find(self, frames: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """Find people in B frames; see PersonFinder."""
        import torch

        height, width = frames.shape[1:3]
        window = np.array([[0.0, 0.0, width / _SIDE, height / _SIDE]])
        small = np.concatenate([cut_windows(frame, window, (_SIDE, _SIDE)) for frame in frames])
        with torch.inference_mode():
            images = torch.from_numpy(small).to(self.device).permute(0, 3, 1, 2).float() / 255
            found = self.network(pixel_values=images)
            scores = found.logits.sigmoid().float().cpu().numpy()
            places = found.pred_boxes.float().cpu().numpy()
        people = []
        for score, place in zip(scores, places, strict=True):
            # a query speaks for a person where that is its best class
            own = (score.argmax(axis=1) == self.person) & (score[:, self.person] >= self.threshold)
            centre, size = place[own, :2], place[own, 2:]
            corners = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
            boxes = np.clip(corners, 0, 1) * np.array([width, height, width, height])
            rows = np.concatenate([boxes, score[own, self.person, None]], axis=1)
            people.append(rows[np.argsort(-rows[:, 4])].astype(np.float32))
        return people
