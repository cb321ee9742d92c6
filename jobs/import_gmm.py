#!/usr/bin/env python
"""DiffPose's own mixture file (data_2d_..._gmm.npz) as a mixture group of a pose store.

diffpose import-gmm store=STORE gmm=data_2d_h36m_cpn_ft_h36m_dbb_gmm.npz
diffpose import-gmm store=STORE gmm=FILE name=theirs depth=encoder encoder=RUN
diffpose train store=STORE run=RUN mixtures=gmm mixture.n_kernels=3 depth=histogram

The reverse of diffpose export-gmm. The file's mixtures lie in the image; the depth prior puts them
into space. The store must be made from the same data set (its poses and detections stay as they
are). Format and units: platform/store/gmm_file.py.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Literal

from pydantic import Field, model_validator

from diffpose.model.mixtures.gaussian_mixture import MixtureSpec
from diffpose.platform.base import command_line
from diffpose.platform.base.config import Settings
from diffpose.platform.base.errors import StoreError
from diffpose.platform.base.progress import Progress
from diffpose.platform.base.storage import absolute, join, read_json
from diffpose.platform.store.gmm_file import read_gmm_file
from diffpose.platform.store.pose_store import PoseStore
from diffpose.preprocessing.derived import mixture_stages
from diffpose.preprocessing.derived.mixture_attributes import mixture_attributes
from diffpose.preprocessing.derived.mixture_import import imported_span, matched
from diffpose.preprocessing.planning.plan import Plan
from diffpose.preprocessing.planning.span_row import make_write_fn
from diffpose.preprocessing.settings import MixtureGroupSettings


class ImportGmmSettings(Settings):
    """The authors' mixtures, one per joint, frame and camera, as a mixture group."""

    store: str = Field(description="pose store with detections of the same data set")
    gmm: str = Field(description="npz file of mixtures: local path or fsspec URI")
    name: str = Field("gmm", description="mixture group to make")
    depth: Literal["histogram", "encoder"] = Field("histogram", description="prior of z")
    encoder: str | None = Field(None, description="run with a context encoder, for depth=encoder")

    @model_validator(mode="after")
    def _encoder_given(self) -> ImportGmmSettings:
        MixtureGroupSettings(name=self.name)  # checks the name
        if self.depth == "encoder" and self.encoder is None:
            raise ValueError(
                "depth=encoder needs encoder=RUN, a run directory with a trained encoder"
            )
        return self


def import_gmm(settings: ImportGmmSettings) -> int:
    """Read, match, lift, write; returns the exit status.

    Raises:
        SourceError: the file is another one, or of another data set.
        StoreError: the group is there already, or the store is empty.
    """
    store = PoseStore.open(absolute(settings.store), mode="r+")
    clips = store.clips()
    if not clips:
        raise StoreError(f"The store at {settings.store!r} holds no finished clip.")
    gmm = absolute(settings.gmm)
    if settings.name in store.mixture_names():
        there = store.group_attributes("mixtures", settings.name)
        begun = not there.get("complete") and there.get("origin", {}).get("file") == gmm
        if not begun:  # an import that was interrupted is done again
            raise StoreError(
                f"The store at {settings.store!r} has mixtures {settings.name!r} already. Give "
                "another name=."
            )
    views = read_gmm_file(gmm)
    source = dict(store.attributes.get("config", {})).get("source", {})
    found, missing = matched(views, clips, int(source.get("stride", 1)))
    n_kernels = int(next(iter(found.values())).values.shape[2])
    mixture = MixtureGroupSettings(
        name=settings.name, depth=settings.depth, spec=MixtureSpec(n_kernels=n_kernels)
    )
    origin = {"file": gmm, "format": "data_2d_h36m_NAME_gmm.npz of DiffPose"}
    attributes = mixture_attributes(mixture, settings.encoder, 0, store, clips).model_copy(
        update={"origin": origin}
    )
    plan = Plan.model_validate(read_json(join(store.uri, "plan.json")))
    for field in mixture_stages.mixture_fields(mixture.spec):
        store.require_array(f"mixtures/{settings.name}", field, plan.n_rows)
    store.update_group("mixtures", settings.name, attributes.fitted_with())
    group = f"mixtures/{settings.name}"
    write = make_write_fn(store.uri, store.log_uri("mixtures", settings.name), group)
    progress = Progress("import-gmm", sum(clip.n_rows for clip in clips), "frames")
    rows = 0
    for span in plan.spans:
        done = write(imported_span(store, span, found, missing, attributes))
        rows += done.rows
        progress.advance(done.rows)
    store.update_group(
        "mixtures",
        settings.name,
        {
            "failed_clips": sorted(missing),
            "complete": True,
            "complete_splits": ["train", "validation", "test"],
        },
    )
    print(f"mixtures/{settings.name}: {rows} frames, M = {n_kernels}, depth {settings.depth}")
    for name, error in sorted(missing.items())[:10]:
        print(f"  not in the file: {name}: {error}")
    return 0


def main(arguments: Sequence[str]) -> int:
    """Run from the command line."""
    return command_line.run(ImportGmmSettings, import_gmm, arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
