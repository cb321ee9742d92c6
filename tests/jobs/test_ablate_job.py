"""Recipes side by side on a window encoder: trained, evaluated, tabled, and not done twice."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from diffpose.model.lifting.lifter import row_seeds
from diffpose.model.metrics.pose_errors import mpjpe
from diffpose.platform.ablation.settings import AblationSettings
from diffpose.platform.base.config import validate
from diffpose.platform.base.errors import RunError
from diffpose.platform.evaluation.results import CONTEXT
from diffpose.platform.runs.load import load_run
from diffpose.platform.store.observations import read_observations
from diffpose.platform.store.pose_store import PoseStore
from diffpose.platform.workflows.ablate import ablate

pytestmark = pytest.mark.cluster

SMALL = {"width": 8, "n_blocks": 1, "n_heads": 2, "n_visited_steps": 2}
RECIPE = {
    "preprocess": {
        "source": {"kind": "mocap", "poses_per_second": 10},
        "cameras": {"count": 1},
        "workers": 2,
    },
    "encoders": {
        "video": {
            "context_encoder": {
                "kind": "mixste",
                "frames": 8,
                "width": 16,
                "depth": 1,
                "n_heads": 2,
            },
            "encoder_training": {"epochs": 2, "batch_size": 64},
        }
    },
    "base": {
        "denoiser": SMALL,
        "denoiser_training": {"epochs": 1, "batch_size": 64},
        "mixture": {"n_kernels": 1, "n_draws": 100},
        "sampling": {"n_hypotheses": 2},
        "validation_poses": 50,
    },
    "recipes": {"default": {}},
    "rows": {"video": ["default"]},
    "seeds": [3],
    "sweeps": {
        "N": {
            "encoder": "video",
            "recipe": "default",
            "setting": "n_hypotheses",
            "values": [1, 2],
        }
    },
}


def test_an_ablation_from_motion_to_tables(
    ray_local: None, motion_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {**RECIPE, "motion": str(motion_folder), "folder": str(tmp_path)}
    # one that fails does not take the other along
    bad = {"denoiser_training": {"learning_rate": 1e30, "batch_size": 4, "mirror": False}}
    failing = {"recipes": {"bad": bad, "default": {}}, "rows": {"video": ["bad", "default"]}}
    with pytest.raises(RunError, match=r"(?s)1 of 2 trainings failed.*bad: .*loss is"):
        ablate(validate(AblationSettings, {**given, **failing}))
    assert "bad failed: " in capsys.readouterr().out

    assert ablate(validate(AblationSettings, given)) == 0
    assert "denoiser: 1 of 1 trained before" in capsys.readouterr().out
    found = json.loads((tmp_path / "ablation.json").read_text())
    assert set(found["video"]) == {"context_encoder", "default"}
    assert found["sweeps"]["N"]["mpjpe_mm"]["2"] == [found["video"]["default"]["mpjpe_mm"]]
    assert all(row["frames_per_s"] > 0 for row in found["video"].values())
    assert "Encoder video" in (tmp_path / "ablation.html").read_text()

    # the same figure without Ray: windows run over each clip alone
    store = PoseStore.open(str(tmp_path / "store"))
    loaded = load_run(str(tmp_path / "video" / "seed_3" / "default"))
    lifter, sampling = loaded.lifter, loaded.sampling
    errors = []
    for clip in store.clips("test"):
        rows = np.arange(clip.first_row, clip.first_row + clip.n_rows)
        seen = read_observations(store, rows[0], rows[-1] + 1)
        lifted = lifter.lift(seen, sampling, row_seeds(3, rows), [clip.n_rows])
        errors.append(mpjpe(lifted.pose_mm, store.read("pose_3d", rows[0], rows[-1] + 1)))
    mean = np.concatenate(errors).mean()
    assert found["video"]["default"]["mpjpe_mm"] == pytest.approx(mean, abs=0.01)

    # stored contexts are what the encoder says of each clip
    (group,) = {name.split("/")[1] for name in store.arrays() if name.startswith("contexts/")}
    clip = store.clips("train")[0]
    rows = (clip.first_row, clip.first_row + clip.n_rows)
    detections = read_observations(store, *rows).detections()
    features, pose_mm = lifter.encoder.poses_mm(detections.rays, [clip.n_rows])
    stored = store.read(f"contexts/{group}/pose_mm", *rows)
    np.testing.assert_allclose(stored, pose_mm.detach(), atol=0.01)
    stored = store.read(f"contexts/{group}/features", *rows).astype(np.float32)
    np.testing.assert_allclose(stored, features.detach(), atol=0.01)
    mirrored = store.read(f"contexts/{group}/mirrored_pose_mm", *rows)
    assert np.isfinite(mirrored).all()
    assert np.abs(mirrored - stored[..., :3]).max() > 1

    # again: nothing is trained, encoded or measured twice, and what an interruption left is done
    place = tmp_path / "video" / "seed_3"
    fitted = place / "default" / "denoiser" / "uncertainty.json"
    told = fitted.read_text()
    (marker, *_) = sorted((tmp_path / "store" / "log" / "contexts").glob("*/span_*.json"))
    fitted.unlink()
    marker.unlink()
    kept = [
        place / "encoder_run" / "encoder" / "weights.safetensors",
        place / "default" / "denoiser" / "weights.safetensors",
        place / "default" / "sweep_n.json",
        place / "evaluation_test.json",
        place / "speed.json",
    ]
    before = [path.stat().st_mtime_ns for path in kept]
    assert ablate(validate(AblationSettings, given)) == 0
    assert [path.stat().st_mtime_ns for path in kept] == before
    assert fitted.read_text() == told
    assert marker.exists()
    assert json.loads((tmp_path / "ablation.json").read_text()) == found

    # a recipe that is new is measured alone; of other poses than before, all are
    figures = place / "evaluation_test.json"
    saved = json.loads(figures.read_text())
    original = saved["methods"]["default"]["mpjpe_mm"]
    saved["methods"]["default"]["mpjpe_mm"] = 1.0
    figures.write_text(json.dumps(saved))
    recipes = {"default": {}, "more": {"denoiser": {"process": "single_step"}}}
    more = validate(
        AblationSettings,
        {
            **given,
            "recipes": recipes,
            "rows": {"video": list(recipes)},
            "sweeps": {"N": {**RECIPE["sweeps"]["N"], "given": {"temperature": 0.0}}},
        },
    )
    assert ablate(more) == 0
    asked = json.loads((tmp_path / "ablation.json").read_text())["sweeps"]["N"]["mpjpe_mm"]
    assert asked["2"] != found["sweeps"]["N"]["mpjpe_mm"]["2"]  # another question than before
    saved = json.loads(figures.read_text())
    assert saved["methods"]["default"]["mpjpe_mm"] == 1.0
    assert saved["methods"]["more"]["mpjpe_mm"] > 1.0
    assert set(json.loads((place / "speed.json").read_text())["frames_per_s"]) >= {
        "default",
        "more",
    }
    saved["methods"][CONTEXT]["mpjpe_mm"] += 1.0
    del saved["digests"]["more"]
    figures.write_text(json.dumps(saved))
    assert ablate(more) == 0
    saved = json.loads(figures.read_text())
    assert saved["methods"]["default"]["mpjpe_mm"] == pytest.approx(original, abs=1e-6)
