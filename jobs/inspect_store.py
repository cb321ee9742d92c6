#!/usr/bin/env python
"""Say what a pose store holds: clips, rows, fields, units, splits, mixtures; or check a source.

diffpose inspect store=STORE
diffpose inspect store=STORE --json FILE
diffpose inspect store=STORE --clip ID --out sheet.png      # or film.mp4
diffpose inspect source.kind=human36m source.uri=FOLDER      # what is there, and is it right
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import Field, model_validator
from rich.console import Console
from rich.table import Table

from diffpose.platform.base import command_line
from diffpose.platform.base.config import Settings
from diffpose.platform.base.storage import absolute, exists, join, read_json, write_json
from diffpose.platform.store.clips import Clip
from diffpose.platform.store.pose_store import PoseStore
from diffpose.preprocessing.inspection.source_checks import inspect_source
from diffpose.preprocessing.settings import SourceSettings

_SAMPLE_ROWS = 4096


class InspectSettings(Settings):
    """What a pose store holds, or whether a source's files are what they should be."""

    store: str | None = Field(None, description="pose store: local path or fsspec URI")
    source: SourceSettings | None = Field(
        None, description="instead of a store: recordings to check, as preprocess takes them"
    )
    json_file: str | None = Field(None, description="write the same as JSON (--json FILE)")
    clip: str | None = Field(
        None, description="draw this clip (--clip ID; the first letters of the id are enough)"
    )
    out: str | None = Field(
        None, description="picture to write (--out FILE): .png contact sheet or .mp4 film"
    )
    frames: int = Field(12, ge=1, le=400, description="frames on the contact sheet")
    mixtures: str | None = Field(
        None, description="mixture group to draw as ellipses; default: the first complete one"
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> InspectSettings:
        if (self.store is None) == (self.source is None):
            raise ValueError("give either store= or source.uri= (with source.kind=)")
        return self


def describe_store(store: PoseStore) -> dict[str, Any]:
    """Return everything that inspect shows, as plain JSON values."""
    clips = store.clips(done_only=False)
    done = [clip for clip in clips if clip.status == "done"]
    attributes = store.attributes
    plan_uri = join(store.uri, "plan.json")
    plan = read_json(plan_uri) if exists(plan_uri) else {}
    return {
        "store": store.uri,
        "schema": attributes["diffpose_schema"],
        "code_version": attributes["code_version"],
        "skeleton": attributes["skeleton"]["name"],
        "frames_of_reference": attributes["frames_of_reference"],
        "detector": attributes.get("detector", {}),
        "clips": dict(Counter(clip.status for clip in clips)),
        "rows": sum(clip.n_rows for clip in done),
        "splits": {
            split: _describe_split([c for c in done if c.split == split])
            for split in ("train", "validation", "test")
        },
        "actions": dict(_rows_per(done, "action")),
        "fields": {
            name: {
                "shape": list(array.shape),
                "dtype": str(array.dtype),
                "unit": array.unit,
                "description": array.description,
            }
            for name, array in store.arrays().items()
            if "/" not in name
        },
        "mixtures": {name: _describe_mixtures(store, name, done) for name in store.mixture_names()},
        "failed": {c.clip: f"{c.source}: {c.error}" for c in clips if c.status == "failed"},
        "unreadable": plan.get("unreadable", {}),
        "damaged": plan.get("damaged", {}),
    }


def inspect(settings: InspectSettings) -> int:
    """Print and save the description, draw a clip, or check a source; returns the exit status."""
    if settings.source is not None:
        return inspect_source(settings.source, settings.json_file)
    assert settings.store is not None
    if settings.clip is not None:
        draw_clip(settings, settings.store, settings.clip)
        return 0
    found = describe_store(PoseStore.open(settings.store))
    if settings.json_file:
        write_json(settings.json_file, found)
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    console.print(
        f"[bold]{found['store']}[/bold]\nschema {found['schema']}, skeleton {found['skeleton']}, "
        f"detector {found['detector'].get('version', '?')}, clips: "
        + ", ".join(f"{count} {status}" for status, count in found["clips"].items())
    )
    counted = ("clips", "rows", "subjects", "actions")
    splits = Table("split", *counted, "one clip (--clip)", title="Splits")
    for name, part in found["splits"].items():
        one = part["first_clip"][:8] if part["first_clip"] else "-"
        splits.add_row(name, *(str(part[k]) for k in counted), one)
    console.print(splits)
    fields = Table("field", "shape", "type", "unit", "meaning", title="Fields")
    for name, field in found["fields"].items():
        shape = " x ".join(map(str, field["shape"]))
        fields.add_row(name, shape, field["dtype"], field["unit"], field["description"])
    console.print(fields)
    if found["mixtures"]:
        console.print(_mixture_table(found["mixtures"]))
    else:
        console.print("no mixtures yet (stages=mixtures, or diffpose train)")
    for what in ("failed", "unreadable", "damaged"):
        for name, error in found[what].items():
            console.print(f"{what}: {name}: {error}", style="red", markup=False)
    return 0


def draw_clip(settings: InspectSettings, store_uri: str, name: str) -> None:
    """Write a contact sheet or a film of one clip.

    Raises:
        StoreError: there is no such clip, or its video is gone.
    """
    from diffpose.preprocessing.inspection import pictures

    store = PoseStore.open(store_uri)
    clip = pictures.find_clip(store, name)
    group = settings.mixtures
    if group is None:
        complete = [
            n
            for n in store.mixture_names()
            if store.group_attributes("mixtures", n).get("complete")
        ]
        group = complete[0] if complete else None
    out = settings.out or f"clip_{clip.clip[:8]}.png"
    if out.lower().endswith(".mp4"):
        drawn = pictures.clip_pictures(store, clip, group, range(clip.n_rows))
        count = pictures.write_film(absolute(out), drawn, clip.fps)
    else:
        some = np.unique(np.linspace(0, clip.n_rows - 1, settings.frames).astype(int)).tolist()
        drawn = pictures.clip_pictures(store, clip, group, some)
        pictures.write_picture(absolute(out), pictures.contact_sheet(list(drawn)))
        count = len(some)
    shown = f"mixtures {group!r}" if group else "no mixtures yet"
    print(f"{out}: {count} frames of {clip.source}, {clip.action}, {clip.split} ({shown})")


def _mixture_table(mixtures: dict[str, Any]) -> Table:
    table = Table(
        "mixtures", "depth", "fit", "complete", "heaviest weight", "spread mm", title="Mixtures"
    )
    for name, mixture in mixtures.items():
        spec = mixture["spec"]
        table.add_row(
            name,
            mixture["depth"],
            f"M={spec['n_kernels']}, {spec['scope']}, {spec['covariance']}, "
            f"{spec['n_draws']} draws",
            "yes" if mixture["complete"] else "no",
            f"{mixture['mean_heaviest_weight']:.2f}",
            f"{mixture['mean_kernel_std_mm']:.0f}",
        )
    return table


def _rows_per(clips: Sequence[Clip], key: str) -> Counter[str]:
    rows: Counter[str] = Counter()
    for clip in clips:
        rows[getattr(clip, key)] += clip.n_rows
    return rows


def _describe_split(clips: Sequence[Clip]) -> dict[str, Any]:
    return {
        "first_clip": clips[0].clip if clips else None,
        "clips": len(clips),
        "rows": sum(clip.n_rows for clip in clips),
        "subjects": len({clip.subject for clip in clips}),
        "actions": len({clip.action for clip in clips}),
    }


def _describe_mixtures(store: PoseStore, name: str, clips: Sequence[Clip]) -> dict[str, Any]:
    """Summarise one group from up to 4096 rows spread over the clips."""
    attributes = store.mixture_attributes(name)
    spec = attributes.spec
    step = max(len(clips) // 32, 1)
    weights, factors, taken = [], [], 0
    for clip in clips[::step]:
        if taken >= _SAMPLE_ROWS:
            break
        rows = clip.first_row, clip.first_row + clip.n_rows
        weights.append(store.read(f"mixtures/{name}/weights", *rows))
        factors.append(store.read(f"mixtures/{name}/scale_tril_mm", *rows))
        taken += clip.n_rows
    heaviest = np.concatenate(weights).max(axis=-1) if weights else np.full(1, np.nan)
    packed = np.concatenate(factors).astype(np.float64) if factors else np.full((1, 1), np.nan)
    n_values = {"pose": 17, "joint": 1}[spec.scope] * 3.0
    kernel_variance = (packed**2).sum(axis=-1) / n_values
    return {
        "spec": spec.model_dump(mode="json"),
        "depth": attributes.depth_kind,
        "complete": attributes.complete,
        "failed_clips": len(attributes.failed_clips),
        "mean_heaviest_weight": float(np.nanmean(heaviest)),
        "mean_kernel_std_mm": float(np.sqrt(np.nanmean(kernel_variance))),
    }


def main(arguments: Sequence[str]) -> int:
    """Run from the command line."""
    return command_line.run(InspectSettings, inspect, arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
