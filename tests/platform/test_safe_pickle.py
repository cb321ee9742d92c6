"""Plain data come out as they went in; everything else is refused by name, and never run."""

from __future__ import annotations

import os
import pickle
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffpose.platform.base.errors import SourceError
from diffpose.platform.base.safe_pickle import read_npz, read_pickle


class Exploit:
    """What a hostile file carries: a call of its choice, made when it is loaded."""

    def __init__(self, call: Any, *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call, self.arguments


def plain() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "S1": {
            "Walking 1": [rng.normal(size=(5, 17, 2)).astype(np.float32), np.arange(3)],
            "text": "Grüße", "number": np.float64(2.5), "count": np.int32(4), "truth": True,
            "names": np.array(["a", "bc"]), "none": None, "pair": (1, 2.5), "bytes": b"\x00\xff",
        }
    }  # fmt: skip


def assert_same(a: Any, b: Any) -> None:
    if isinstance(b, dict):
        assert a.keys() == b.keys()
        for key in b:
            assert_same(a[key], b[key])
    elif isinstance(b, (list, tuple)):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            assert_same(one, other)
    else:
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("protocol", range(6))
def test_plain_data_of_every_protocol(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "plain.pkl"
    path.write_bytes(pickle.dumps(plain(), protocol=protocol))
    assert_same(read_pickle(str(path)), plain())


def test_npz_with_and_without_objects(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    ragged = np.array([np.arange(2), np.arange(3), {"a": 1}], dtype=object)
    np.savez_compressed(path, data=np.array(plain(), dtype=object), x=np.eye(3), ragged=ragged)
    found = read_npz(str(path))
    assert_same(found["data"], plain())
    np.testing.assert_array_equal(found["x"], np.eye(3))
    assert_same(list(found["ragged"]), list(ragged))


@pytest.mark.parametrize(
    ("call", "arguments", "name"),
    [
        (os.system, ("touch {mark}",), "system"),
        (eval, ("open('{mark}', 'w')",), "eval"),
        (subprocess.check_call, (["touch", "{mark}"],), "check_call"),
        (np.load, ("{mark}",), "load"),
        (getattr, ("", "upper"), "getattr"),
    ],
    ids=["system", "eval", "subprocess", "numpy-load", "getattr"],
)
@pytest.mark.parametrize("kind", ["pickle", "npz"])
def test_a_hostile_file_is_refused_and_not_run(
    tmp_path: Path, call: Any, arguments: tuple[Any, ...], name: str, kind: str
) -> None:
    mark = tmp_path / "ran"

    def filled(value: Any) -> Any:
        if isinstance(value, list):
            return [filled(v) for v in value]
        return value.format(mark=mark) if isinstance(value, str) else value

    content = {"S1": {"Walking": Exploit(call, *filled(list(arguments)))}}
    path = tmp_path / f"data.{kind}"
    if kind == "npz":
        np.savez(path, positions_3d=np.array(content, dtype=object))
    else:
        path.write_bytes(pickle.dumps(content))
    read = read_npz if kind == "npz" else read_pickle
    with pytest.raises(SourceError) as caught:
        read(str(path))
    assert name in str(caught.value)
    assert path.name in str(caught.value)
    assert not mark.exists()
    if call is os.system:  # the file is a real exploit: Python's own unpickler runs it
        if kind == "npz":
            np.load(path, allow_pickle=True)["positions_3d"].item()
        else:
            pickle.loads(path.read_bytes())
        assert mark.exists()


def test_damaged_and_other_files_are_explained(tmp_path: Path) -> None:
    whole = tmp_path / "data.npz"
    np.savez(whole, data=np.array(plain(), dtype=object))
    cut = tmp_path / "cut.npz"
    cut.write_bytes(whole.read_bytes()[:300])
    text = tmp_path / "text.pkl"
    text.write_text("hello")
    for read, path in ((read_npz, cut), (read_npz, text), (read_pickle, text), (read_pickle, cut)):
        with pytest.raises(SourceError, match=path.name):
            read(str(path))
    for read in (read_npz, read_pickle):
        with pytest.raises(SourceError, match="There is no file"):
            read(str(tmp_path / "nothing.npz"))
