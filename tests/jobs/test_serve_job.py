"""The service as a client sees it."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from processes import DIFFPOSE, Command, run_command

from diffpose.model.geometry.skeleton import JOINT_NAMES
from diffpose.platform.store.pose_store import PoseStore

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def service(
    small_run: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Command, str]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("serve") / "serve.log"
    command = Command([*DIFFPOSE, "serve", f"run={small_run}", f"port={port}"], log)
    try:
        command.wait_until(lambda: "serving" in command.output())
        yield command, f"http://127.0.0.1:{port}"
    finally:
        command.clean_up()


def question(store_uri: str, frames: int = 3) -> dict[str, object]:
    store = PoseStore.open(store_uri)
    clip = store.clips("test")[0]
    rows = clip.first_row, clip.first_row + frames
    return {
        "keypoints": store.read("keypoints_2d", *rows).tolist(),
        "image_width": clip.width,
        "image_height": clip.height,
        "focal_length_px": 1145.0,
    }


def test_lift(service: tuple[Command, str], small_store: str, small_run: str) -> None:
    _, url = service
    health = httpx.get(f"{url}/healthz", timeout=30).json()
    assert health["status"] == "ok"
    assert health["run"] == small_run
    assert "/v1/lift" in httpx.get(f"{url}/openapi.json", timeout=30).json()["paths"]
    assert httpx.get(f"{url}/docs", timeout=30).status_code == 200

    asked = {**question(small_store), "include_hypotheses": True, "n_hypotheses": 7}
    response = httpx.post(f"{url}/v1/lift", json=asked, timeout=60)
    assert response.status_code == 200, response.text
    answer = response.json()
    poses = np.array(answer["poses_mm"])
    hypotheses = np.array(answer["hypotheses_mm"])
    assert poses.shape == (3, 17, 3)
    assert hypotheses.shape == (3, 7, 17, 3)
    np.testing.assert_array_equal(hypotheses, hypotheses.round(3))  # no digits that mean nothing
    assert answer["n_hypotheses"] == 7
    assert answer["joints"] == list(JOINT_NAMES)
    assert answer["unit"] == "mm"
    np.testing.assert_allclose(poses, hypotheses.mean(axis=1), atol=1e-2)
    spread = np.sqrt(((hypotheses - poses[:, None]) ** 2).sum(-1).mean(1))
    np.testing.assert_allclose(np.array(answer["std_mm"]), spread, atol=1e-2)
    np.testing.assert_array_equal(poses[:, 0], 0)
    covariance = np.array(answer["covariance_mm2"])
    assert covariance.shape == (3, 17, 3, 3)
    assert (np.linalg.eigvalsh(covariance[:, 1:]) > 0).all()
    assert answer["calibrated"] is True
    assert "n_hypotheses 5, not 7" in answer["uncertainty_note"]
    assert 0 < answer["ellipsoid_radius"]["50"] < answer["ellipsoid_radius"]["90"]
    short = httpx.post(f"{url}/v1/lift", json={**asked, "include_covariance": False}, timeout=60)
    assert {**answer, "covariance_mm2": None} == short.json()
    single = httpx.post(f"{url}/v1/lift", json={**asked, "n_hypotheses": 1}, timeout=60).json()
    assert single["covariance_mm2"] is single["ellipsoid_radius"] is None
    assert single["calibrated"] is False
    refined = httpx.post(f"{url}/v1/lift", json={**asked, "refine": "clip"}, timeout=60).json()
    assert np.abs(np.array(refined["poses_mm"]) - poses).max() > 1
    assert "refine none, not clip" in refined["uncertainty_note"]
    head, foot = JOINT_NAMES.index("Head"), JOINT_NAMES.index("RFoot")
    assert (poses[:, head, 1] < poses[:, foot, 1]).all()  # y points down
    wide = {**asked, "sigma_px": [[25.0] * 17] * 3}
    wider = httpx.post(f"{url}/v1/lift", json=wide, timeout=60).json()
    assert not np.allclose(np.array(wider["poses_mm"]), poses)


def test_answers_do_not_depend_on_company(service: tuple[Command, str], small_store: str) -> None:
    _, url = service
    questions = [{**question(small_store, 1 + i % 4), "seed": i} for i in range(12)]

    def ask(asked: dict[str, object]) -> list[object]:
        response = httpx.post(f"{url}/v1/lift", json=asked, timeout=60)
        assert response.status_code == 200, response.text
        poses: list[object] = response.json()["poses_mm"]
        return poses

    alone = [ask(asked) for asked in questions]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(ask, questions))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(np.array(one), np.array(other), atol=0.05)
    assert not np.allclose(np.array(alone[0])[0], np.array(alone[4])[0])  # another seed


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"keypoints": [[[1.0, 2.0]] * 16]}, "keypoints", ["16 joints", "expected 17"]),
        ({"keypoints": [[[1.0, 2.0, 3.0]] * 17]}, "keypoints", ["3 values", "x and y"]),
        ({"keypoints": []}, "keypoints", ["T = 0"]),
        ({"image_width": -5}, "image_width", ["greater than 0"]),
        ({"image_height": None}, "image_height", ["valid integer"]),
        ({"sigma_px": [[1.0] * 17]}, "", ["1 frames", "3"]),
        ({"focal": 1000}, "focal", ["not permitted"]),
    ],
    ids=["joints", "values", "empty", "negative", "null", "sigma", "unknown"],
)
def test_bad_input_names_the_field(
    service: tuple[Command, str],
    small_store: str,
    change: dict[str, object],
    field: str,
    words: list[str],
) -> None:
    _, url = service
    response = httpx.post(f"{url}/v1/lift", json={**question(small_store), **change}, timeout=60)
    assert response.status_code == 422
    detail = response.json()["detail"][0]
    assert field in [str(part) for part in (*detail["loc"], "")]
    for word in words:
        assert word in detail["msg"]


def test_nan_and_broken_json(service: tuple[Command, str], small_store: str) -> None:
    _, url = service
    for body in (b'{"keypoints": [[[NaN', b"not json at all", b""):
        response = httpx.post(
            f"{url}/v1/lift",
            content=body,
            headers={"Content-Type": "application/json"},
            timeout=60,
        )
        assert response.status_code == 422
    points = ", ".join(["[NaN, 1.0]"] * 17)
    body = f'{{"keypoints": [[{points}]], "image_width": 9, "image_height": 9}}'.encode()
    headers = {"Content-Type": "application/json"}
    response = httpx.post(f"{url}/v1/lift", content=body, headers=headers, timeout=60)
    assert response.status_code == 422
    assert "finite" in response.json()["detail"][0]["msg"]


def test_port_in_use_and_missing_run(
    service: tuple[Command, str], small_run: str, tmp_path: Path
) -> None:
    _, url = service
    port = url.rsplit(":", 1)[1]
    status, output = run_command(
        [*DIFFPOSE, "serve", f"run={small_run}", f"port={port}"], tmp_path / "second.log"
    )
    assert status == 2
    assert port in output
    assert "Traceback" not in output
    status, output = run_command([*DIFFPOSE, "serve", f"run={tmp_path}"], tmp_path / "no.log")
    assert status == 2
    assert "no trained context_encoder" in output
    assert "Traceback" not in output


def test_sigterm_ends_the_service(service: tuple[Command, str]) -> None:
    """Last in this file: it ends the module's service."""
    command, _ = service
    command.process.send_signal(signal.SIGTERM)
    assert command.wait(60) == 0
    assert "ended" in command.output()
