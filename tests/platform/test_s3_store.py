"""The same files on object storage: a real S3 protocol server, spoken to over HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import boto3
import numpy as np
import pytest
import s3fs
import torch
from moto.server import ThreadedMotoServer
from stored_clips import made_clip

from diffpose.model.networks.graformer import Graformer, GraformerConfig
from diffpose.platform.base import storage
from diffpose.platform.base.errors import RunError, SourceError, StoreError
from diffpose.platform.runs import model_files as cp
from diffpose.platform.store.clips import read_clips, write_clips
from diffpose.platform.store.pose_store import PoseStore
from diffpose.platform.training.shard_loader import BatchLoader


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(
    endpoint: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[str]:
    """Return the URI of a new bucket; all access goes by the environment alone."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    # fsspec keeps file systems for good, with the endpoint of their first use.
    s3fs.S3FileSystem.clear_instance_cache()
    name = request.node.name.replace("_", "-").strip("[]")[:60]
    boto3.client("s3").create_bucket(Bucket=name)
    yield f"s3://{name}"
    s3fs.S3FileSystem.clear_instance_cache()


def keys(bucket: str) -> list[str]:
    """Return what is on the server, seen by another client."""
    found = boto3.client("s3").list_objects_v2(Bucket=bucket.removeprefix("s3://"))
    return sorted(item["Key"] for item in found.get("Contents", []))


def test_files(bucket: str) -> None:
    uri = storage.join(bucket, "run", "state.json")
    assert not storage.exists(uri)
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(uri)
    storage.write_json(uri, {"epoch": 1})
    assert storage.read_json(uri) == {"epoch": 1}
    storage.write_json(uri, {"epoch": 2})
    assert storage.read_json(uri) == {"epoch": 2}
    assert keys(bucket) == ["run/state.json"]
    assert storage.absolute(uri) == uri
    assert not storage.is_local(uri)


def test_listings(bucket: str) -> None:
    folder = storage.join(bucket, "in")
    assert storage.list_names(folder) == []
    for name in ("b.bvh", "sub/a.BVH", "c.txt"):
        storage.write_bytes(storage.join(folder, name), b"1")
    assert storage.list_names(folder) == ["b.bvh", "c.txt"]
    assert storage.find_files(folder, ".bvh") == ["b.bvh", "sub/a.BVH"]
    # What another machine writes shows at once.
    boto3.client("s3").put_object(Bucket=bucket.removeprefix("s3://"), Key="in/d.bvh", Body=b"1")
    assert storage.list_names(folder, ".bvh") == ["b.bvh", "d.bvh"]
    assert storage.find_files(folder, ".bvh") == ["b.bvh", "d.bvh", "sub/a.BVH"]
    with pytest.raises(SourceError, match=r"There is no folder 's3://.*/none'"):
        storage.find_files(storage.join(bucket, "none"), ".bvh")


def test_pose_store(bucket: str) -> None:
    uri = storage.join(bucket, "stores", "one")
    with pytest.raises(StoreError) as caught:
        PoseStore.open(uri)
    assert f"There is no pose store at {uri!r}" in str(caught.value)
    assert f"store={uri}" in str(caught.value)
    store = PoseStore.create(uri, 64, 64, {"detector": {"version": 3}})
    poses = np.random.default_rng(0).normal(size=(64, 17, 3)).astype(np.float32)
    store.write("pose_3d", 0, poses)
    grown = PoseStore.create(uri, 128, 64, {})
    grown.write("pose_3d", 64, 2 * poses)
    read = PoseStore.open(uri)
    assert read.uri == uri
    assert read.attributes["detector"] == {"version": 3}
    np.testing.assert_array_equal(read.read("pose_3d", 0, 128), np.concatenate([poses, 2 * poses]))
    assert [key for key in keys(bucket) if "pose_3d/c/" in key] == [
        "stores/one/pose_3d/c/0/0/0",
        "stores/one/pose_3d/c/1/0/0",
    ]


def test_clips_and_batches(bucket: str) -> None:
    uri = storage.join(bucket, "store")
    store = PoseStore.create(uri, 64, 64, {})
    with pytest.raises(StoreError, match=r"has no clips\.parquet"):
        store.clips()
    clips = [made_clip(0, 10), made_clip(20, 6)]
    write_clips(uri, clips)
    assert read_clips(uri) == clips
    store.write("timestamp_s", 0, np.arange(64.0))
    batches = list(BatchLoader(store, ["timestamp_s"], store.clips("train"), 8).epoch(0))
    rows = sorted(torch.cat([batch["timestamp_s"] for batch in batches]).long().tolist())
    assert rows == [*range(10), *range(20, 26)]


def test_checkpoints(bucket: str) -> None:
    uri = storage.join(bucket, "run", "encoder")
    assert not cp.has_model(uri)
    with pytest.raises(RunError) as caught:
        cp.load_encoder(uri)
    assert f"no trained context_encoder at {uri!r}" in str(caught.value)
    config = GraformerConfig(width=8, n_blocks=1, n_heads=2)
    encoder = Graformer(config).eval()
    cp.save_model(
        uri, "context_encoder", encoder.state_dict(), {"architecture": config.model_dump()}
    )
    loaded, _ = cp.load_encoder(uri)
    rays = torch.randn(2, 17, 2)
    assert torch.equal(loaded(rays)[1], encoder(rays)[1])
    assert len(cp.encoder_digest(uri)) == 16
    assert keys(bucket) == ["run/encoder/config.json", "run/encoder/weights.safetensors"]
    boto3.client("s3").delete_object(
        Bucket=bucket.removeprefix("s3://"), Key="run/encoder/weights.safetensors"
    )
    with pytest.raises(RunError, match="is missing beside its config"):
        cp.load_encoder(uri)
