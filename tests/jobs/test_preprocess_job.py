"""The preprocess job as a user runs it: results, failures, restarts, S3, several nodes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import preprocess_recipe
from processes import DIFFPOSE, Command, assert_equal_stores, run_command

from diffpose.jobs.inspect_store import describe_store
from diffpose.model.geometry.pinhole import project
from diffpose.platform.base.config import validate
from diffpose.platform.base.errors import DiffPoseError, SourceError, StoreError
from diffpose.platform.base.storage import list_names
from diffpose.platform.store.pose_store import PoseStore
from diffpose.platform.workflows.preprocess import preprocess
from diffpose.preprocessing.settings import PreprocessSettings

pytestmark = pytest.mark.cluster


def settings(motion: Path | str, store: Path | str, **changes: object) -> PreprocessSettings:
    return validate(PreprocessSettings, {**preprocess_recipe(motion, str(store)), **changes})


def test_store_holds_what_was_recorded(small_store: str) -> None:
    store = PoseStore.open(small_store)
    clips = store.clips()
    assert {clip.split for clip in clips} == {"train", "validation", "test"}
    subjects = {s: {c.subject for c in clips if c.split == s} for s in ("train", "test")}
    assert not subjects["train"] & subjects["test"]
    for clip in clips[:: len(clips) // 6]:
        rows = clip.first_row, clip.first_row + clip.n_rows
        pose = store.read("pose_3d", *rows).astype(np.float64)
        root = store.read("root_position", *rows).astype(np.float64)
        camera = store.read("camera", *rows).astype(np.float64)
        seen = project(pose + root[:, None], camera[:, None])
        error = np.linalg.norm(seen - store.read("keypoints_2d", *rows), axis=-1)
        assert np.median(error) < 12  # px: the detector is noisy, not lost
        np.testing.assert_array_equal(pose[:, 0], 0)
        weights = store.read("mixtures/histogram/weights", *rows)
        np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-5)
        for name in ("weights", "means_mm", "scale_tril_mm"):
            assert np.isfinite(store.read(f"mixtures/histogram/{name}", *rows)).all()


def test_inspect_describes_the_store(small_store: str, tmp_path: Path, capsys: object) -> None:
    from diffpose.jobs.inspect_store import main

    target = tmp_path / "store.json"
    assert main([f"store={small_store}", "--json", str(target)]) == 0
    printed = capsys.readouterr().out  # type: ignore[attr-defined]
    found = json.loads(target.read_text())
    assert found == json.loads(json.dumps(describe_store(PoseStore.open(small_store))))
    assert found["fields"]["pose_3d"]["unit"] == "mm"
    assert found["mixtures"]["histogram"]["complete"] is True
    assert sum(part["rows"] for part in found["splits"].values()) == found["rows"] > 0
    for word in ("pose_3d", "histogram", "train", "validation", "px"):
        assert word in printed


def test_two_runs_are_the_same_and_a_rerun_does_nothing(
    ray_local: None, small_store: str, motion_folder: Path, tmp_path: Path
) -> None:
    again = settings(motion_folder, tmp_path / "again")
    assert preprocess(again) == 0
    assert_equal_stores(small_store, again.store)
    marker = Path(again.store) / "log" / "detect" / "span_000000.json"
    before = marker.stat().st_mtime_ns
    assert preprocess(again) == 0
    assert marker.stat().st_mtime_ns == before
    other = settings(motion_folder, tmp_path / "seed", seed=7, stages=["detect"])
    assert preprocess(other) == 0
    one, two = (PoseStore.open(s).read("keypoints_2d", 0, 50) for s in (small_store, other.store))
    assert not np.array_equal(one, two)


def test_bad_files_are_recorded_and_retried(
    ray_local: None, motion_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    motion = tmp_path / "motion"
    shutil.copytree(motion_folder, motion)
    good = sorted(motion.glob("*.bvh"))
    text = good[0].read_text()
    good[0].write_text(text[: len(text) * 2 // 3])
    (motion / "unknown_001.bvh").write_text(
        "HIERARCHY\nROOT Blob\n{\n OFFSET 0 0 0\n CHANNELS 3 Zrotation Xrotation Yrotation\n"
        " End Site\n {\n  OFFSET 0 1 0\n }\n}\nMOTION\nFrames: 1\nFrame Time: 0.1\n0 0 0\n"
    )
    store = tmp_path / "store"
    chosen = settings(motion, store, stages=["detect"])
    assert preprocess(chosen) == 0
    printed = capsys.readouterr().out
    assert "2 failed" in printed
    assert good[0].name in printed
    assert "Blob" in printed  # the joints that were found
    unreadable = describe_store(PoseStore.open(str(store)))["unreadable"]
    assert sorted(unreadable) == [good[0].name, "unknown_001.bvh"]
    assert "frames" in unreadable[good[0].name]
    assert preprocess(settings(motion, store, stages=["detect"], strict=True)) == 1

    old = PoseStore.open(str(store)).read("keypoints_2d", 0, 64)
    good[0].write_text(text)  # repaired: gets rows at the end, the others keep theirs
    assert preprocess(chosen) == 0
    repaired = PoseStore.open(str(store))
    assert good[0].name in {clip.source for clip in repaired.clips()}
    np.testing.assert_array_equal(repaired.read("keypoints_2d", 0, 64), old)
    assert sorted(describe_store(repaired)["unreadable"]) == ["unknown_001.bvh"]


def test_nothing_readable_is_a_failure(
    ray_local: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    motion = tmp_path / "motion"
    motion.mkdir()
    (motion / "empty.bvh").write_text("")
    assert preprocess(settings(motion, tmp_path / "store")) == 1
    assert "empty.bvh" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"source": {"uri": "nowhere-at-all"}}, ["nowhere-at-all", "folder"]),
        ({"source": {"uri": "{empty}"}}, ["no *.bvh file"]),
        ({"seed": 99}, ["other settings", "seed: saved 0, now 99", "another store="]),
        ({"mixture": {"spec": {"n_kernels": 2}}, "stages": "mixtures"}, ["fitted otherwise"]),
    ],
    ids=["no-folder", "empty-folder", "other-settings", "other-mixture"],
)
def test_wrong_input_is_explained(
    small_store: str,
    motion_folder: Path,
    tmp_path: Path,
    change: dict[str, object],
    words: list[str],
) -> None:
    recipe = {**preprocess_recipe(motion_folder, small_store), **change}
    if "{empty}" in str(change):
        recipe["source"] = {"uri": str(tmp_path)}
    with pytest.raises((SourceError, StoreError)) as caught:
        preprocess(validate(PreprocessSettings, recipe))
    for word in words:
        assert word in str(caught.value)


def test_mixtures_need_detections(tmp_path: Path, motion_folder: Path) -> None:
    with pytest.raises(DiffPoseError, match="no pose store"):
        preprocess(settings(motion_folder, tmp_path / "none", stages=["mixtures"]))


def test_killed_worker_and_killed_driver_leave_the_same_store(
    motion_folder: Path, tmp_path: Path
) -> None:
    """Kill -9 in the middle; the same command again ends in the store of an undisturbed run."""

    def arguments(store: Path) -> list[str]:
        recipe = ["source.poses_per_second=30", "cameras.count=4", "workers=2"]
        mixture = ["mixture.spec.n_kernels=3", "mixture.spec.n_draws=100"]
        where = [f"source.uri={motion_folder}", f"store={store}"]
        return [*DIFFPOSE, "preprocess", *recipe, *mixture, *where]

    calm, store = tmp_path / "calm", tmp_path / "killed"
    status, output = run_command(arguments(calm), tmp_path / "calm.log")
    assert status == 0, output
    n_spans = len(list_names(str(calm / "log" / "detect"), ".json"))
    assert n_spans >= 20

    def n_done(stage: str) -> int:
        return len(list_names(str(store / "log" / stage), ".json"))

    log = tmp_path / "killed.log"
    first = Command(arguments(store), log)
    try:
        first.wait_until(lambda: n_done("detect") >= 2)
        workers = first.processes("ray::Map") or first.processes("ray::")
        assert workers
        workers[0].kill()
        first.wait_until(lambda: n_done("detect") >= min(8, n_spans // 2))
    finally:
        first.kill_driver()
    left_over = n_spans - n_done("detect")
    assert left_over > 0, "the driver was killed too late to test anything"

    second = Command(arguments(store), log)
    try:
        second.wait_until(lambda: n_done("mixtures/histogram") >= 3)
    finally:
        second.kill_driver()
    assert n_done("mixtures/histogram") < n_spans

    status, output = run_command(arguments(store), log)
    assert status == 0, output
    assert_equal_stores(str(calm), str(store))


def test_store_on_s3(ray_local: None, motion_folder: Path, tmp_path: Path) -> None:
    """Source and store through a real S3 protocol server give the store of the local disk."""
    import boto3
    import s3fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        env = {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        client = boto3.client(
            "s3",
            endpoint_url=env["AWS_ENDPOINT_URL"],
            aws_access_key_id="test",
            aws_secret_access_key="test",
            region_name="us-east-1",
        )
        client.create_bucket(Bucket="poses")
        few = sorted(motion_folder.glob("*_000.bvh"))
        assert len(few) == 4
        local = tmp_path / "motion"
        local.mkdir()
        for file in few:
            shutil.copy(file, local)
            client.upload_file(str(file), "poses", f"motion/{file.name}")
        command = [
            *DIFFPOSE,
            "preprocess",
            "source.uri=s3://poses/motion",
            "cameras.count=1",
            "mixture.spec.n_kernels=3",
            "mixture.spec.n_draws=100",
            "workers=2",
            "store=s3://poses/store",
        ]
        status, output = run_command(command, tmp_path / "s3.log", env)
        assert status == 0, output
        status, output = run_command(
            [*DIFFPOSE, "inspect", "store=s3://poses/store"], tmp_path / "inspect.log", env
        )
        assert status == 0, output
        assert "histogram" in output
        s3 = s3fs.S3FileSystem(
            key="test",
            secret="test",
            endpoint_url=env["AWS_ENDPOINT_URL"],
            skip_instance_cache=True,
        )
        s3.get("poses/store/", str(tmp_path / "copy"), recursive=True)
    finally:
        server.stop()
    assert preprocess(settings(local, tmp_path / "local", cameras={"count": 1})) == 0
    assert_equal_stores(str(tmp_path / "local"), str(tmp_path / "copy"))


def test_cluster_of_two_nodes(motion_folder: Path, tmp_path: Path, small_store: str) -> None:
    """The job joins a running cluster, and both nodes work."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        cluster.add_node(num_cpus=1)
        command = [
            *DIFFPOSE,
            "preprocess",
            f"source.uri={motion_folder}",
            "source.poses_per_second=10",
            "cameras.count=2",
            "mixture.spec.n_kernels=3",
            "mixture.spec.n_draws=100",
            f"store={tmp_path / 'store'}",
        ]
        log = tmp_path / "cluster.log"
        status, output = run_command(command, log, {"RAY_ADDRESS": cluster.address})
        assert status == 0, output
    finally:
        cluster.shutdown()
    assert_equal_stores(small_store, str(tmp_path / "store"))


def test_clips_repaired_after_the_mixtures_get_theirs(
    ray_local: None, motion_folder: Path, tmp_path: Path
) -> None:
    motion = tmp_path / "motion"
    shutil.copytree(motion_folder, motion)
    broken = sorted(motion.glob("*.bvh"))[0]
    whole = broken.read_text()
    chosen = settings(motion, tmp_path / "store")
    assert preprocess(chosen.model_copy(update={"stages": ["detect"]})) == 0
    # a clip whose file is gone when its turn comes: planned, but failed
    store = PoseStore.open(chosen.store)
    clip = next(c for c in store.clips() if c.source == broken.name)
    broken.write_text(whole[: len(whole) // 2])
    for marker in (Path(chosen.store) / "log" / "detect").glob("*.json"):
        marker.unlink()
    assert preprocess(chosen) == 0
    assert broken.name not in {c.source for c in PoseStore.open(chosen.store).clips()}
    broken.write_text(whole)
    assert preprocess(chosen) == 0
    again = PoseStore.open(chosen.store)
    rows = clip.first_row, clip.first_row + clip.n_rows
    assert broken.name in {c.source for c in again.clips()}
    assert np.isfinite(again.read("mixtures/histogram/means_mm", *rows)).all()
    assert again.mixture_attributes("histogram").complete
