"""Bringing a real detector to this machine: its networks, checked, where they are looked for."""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path
from typing import Literal

from pydantic import Field

from diffpose.platform.base.config import Settings
from diffpose.platform.base.errors import SourceError
from diffpose.platform.base.storage import write_bytes
from diffpose.platform.downloads.detector_files import (
    Fetched,
    Package,
    by_npm,
    by_pip,
    by_url,
    members,
    npm_is_there,
    sha256_of,
    take_networks,
)
from diffpose.preprocessing.detectors.blazepose.weights import (
    INSTALL,
    KNOWN,
    detectors_folder,
    runtime_is_there,
)
from diffpose.preprocessing.detectors.vitpose import VitPoseSettings, load_pretrained

LICENCE = "Apache-2.0"
# Newer wheels of mediapipe hold none of these networks.
WHEEL = Package(
    "mediapipe==0.10.21", "05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3"
)
NPM = Package(
    "@mediapipe/pose@0.5.1675469404",
    "8bb349a7b3a3ba699df23be804ddd3b3eab810b50b15406894be257859388a84",
)
_HEAVY = "pose_landmark_heavy"
_OPENMMLAB = "https://download.openmmlab.com/mmpose/v1/projects/rtmposev1/onnx_sdk/"
RTMPOSE = {
    "halpe_26": _OPENMMLAB
    + "rtmpose-m_simcc-body7_pt-body7-halpe26_700e-256x192-4d3e73dd_20230605.zip",
    "coco_17": _OPENMMLAB + "rtmpose-m_simcc-body7_pt-body7_420e-256x192-e48f03d0_20230504.zip",
}


class GetDetectorSettings(Settings):
    """Fetch the networks of a detector: diffpose get-detector NAME [file=PATH]."""

    name: Literal["blazepose", "rtmpose-m", "vitpose"] = Field(
        description="blazepose (PyPI's mediapipe wheel, and npm's @mediapipe/pose for the largest "
        "network), rtmpose-m (OpenMMLab's server) or vitpose (Hugging Face's hub)"
    )
    file: str | None = Field(
        None,
        description="a file brought here by other means, instead of the network: for blazepose the "
        "wheel, npm's tgz or a .tflite; for rtmpose-m OpenMMLab's zip or its .onnx; for vitpose a "
        "folder of save_pretrained",
    )
    folder: str | None = Field(
        None, description="where to put it; default: $DIFFPOSE_DETECTORS, else the user's cache"
    )
    heavy: bool = Field(
        True, description="blazepose: also the largest network, where npm is installed (41 MB)"
    )
    layout: Literal["halpe_26", "coco_17"] = Field(
        "halpe_26", description="rtmpose-m: the joints that it finds"
    )
    sha256: str | None = Field(
        None, description="rtmpose-m: of the zip or .onnx, refused if it is another"
    )
    model: str = Field(
        str(VitPoseSettings.model_fields["model"].default), description="vitpose: name on the hub"
    )


def get_detector(settings: GetDetectorSettings) -> int:
    """Fetch, check, put in place, and say what is there and how it is used; the exit status."""
    folder = detectors_folder() if settings.folder is None else Path(settings.folder)
    folder = folder.expanduser().resolve()
    how = {"blazepose": _blazepose, "rtmpose-m": _rtmpose, "vitpose": _vitpose}
    how[settings.name](settings, folder)
    return 0


def _blazepose(settings: GetDetectorSettings, folder: Path) -> None:
    fetched: list[Fetched] = []
    if settings.file is not None:
        fetched += take_networks(Path(settings.file), KNOWN, folder)
    elif not all(_is_there(name, folder) for name in ("pose_detection", "pose_landmark_full")):
        print(f"fetching {WHEEL.name} (36 MB) by pip ...", flush=True)
        with tempfile.TemporaryDirectory(prefix="diffpose-") as temporary:
            fetched += take_networks(by_pip(WHEEL, Path(temporary)), KNOWN, folder)
    if settings.file is None and settings.heavy and not _is_there(_HEAVY, folder):
        fetched += _heavy(folder)
    for one in fetched:
        print(one.told())
    there = [name for name in KNOWN if _is_there(name, folder)]
    missing = [name for name in ("pose_detection", "pose_landmark_full") if name not in there]
    print(f"blazepose: {', '.join(there)} in {folder}; {LICENCE}, MediaPipe's authors")
    if missing:
        print(f"still missing: {', '.join(missing)}, which are in the wheel of {WHEEL.name}")
        return
    if not runtime_is_there():
        print(f"it needs LiteRT to run: {INSTALL}")
    if folder == detectors_folder().expanduser().resolve():
        print("videos take it from now on: diffpose predict run=RUN_DIR video=FILM.mp4 out=OUT")
    else:
        print(f"use it: detector.kind=blazepose detector.weights={folder}, or set "
              f"DIFFPOSE_DETECTORS={folder}")  # fmt: skip


def _heavy(folder: Path) -> list[Fetched]:
    """Fetch the largest network where that is possible; what is there does without."""
    if not npm_is_there():
        print("npm is not installed: the middle network, full, is used; heavy is in the file of "
              f"`npm pack {NPM.name}` (file=PATH)")  # fmt: skip
        return []
    print(f"fetching {NPM.name} (41 MB) by npm ...", flush=True)
    with tempfile.TemporaryDirectory(prefix="diffpose-") as temporary:
        try:
            return take_networks(by_npm(NPM, Path(temporary)), KNOWN, folder)
        except SourceError as error:
            sys.stderr.write(f"warning: the middle network, full, is used: {error}\n")
            return []


def _is_there(name: str, folder: Path) -> bool:
    path = folder / f"{name}.tflite"
    return path.is_file() and sha256_of(path) == KNOWN[name]


def _rtmpose(settings: GetDetectorSettings, folder: Path) -> None:
    url = RTMPOSE[settings.layout]
    with tempfile.TemporaryDirectory(prefix="diffpose-") as temporary:
        if settings.file is None:
            print(f"fetching {url} ...", flush=True)
        path = by_url(url, Path(temporary)) if settings.file is None else Path(settings.file)
        networks = [content for name, content in members(path) if name.endswith(".onnx")]
        digest = sha256_of(path)
    if settings.sha256 is not None and digest != settings.sha256.lower():
        raise SourceError(f"{path} has the sha256 {digest}, not {settings.sha256}; it is not used.")
    if len(networks) != 1:
        raise SourceError(
            f"{path} holds {len(networks)} .onnx files; OpenMMLab's zip holds one. Its address: "
            f"{url}"
        )
    target = folder / f"rtmpose-m-{settings.layout}.onnx"
    write_bytes(str(target), networks[0])
    print(Fetched(target, len(networks[0]), hashlib.sha256(networks[0]).hexdigest()).told())
    if settings.sha256 is None:
        print(f"of {path.name}, sha256 {digest}: compare it with a source that you trust, or give "
              "it next time as sha256=")  # fmt: skip
    print(f"rtmpose-m: {LICENCE}, OpenMMLab. Use it (extra onnx): detector.kind=onnx "
          f"detector.model={target} detector.layout={settings.layout}")  # fmt: skip


def _vitpose(settings: GetDetectorSettings, folder: Path) -> None:
    del folder  # the hub's client has its own
    model = settings.model if settings.file is None else settings.file
    if settings.file is not None and not Path(settings.file).is_dir():
        raise SourceError(f"file={settings.file!r} is no folder of save_pretrained.")
    network = load_pretrained("VitPoseForPoseEstimation", model)
    n = sum(value.numel() for value in network.parameters())
    print(f"vitpose: {model}, {n / 1e6:.1f} million weights; {LICENCE}, ViTPose's authors. Use it "
          f"(extra vitpose): detector.kind=vitpose detector.model={model}")  # fmt: skip
