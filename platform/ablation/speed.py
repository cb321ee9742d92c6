"""How many frames one core lifts in a second, context included (the paper's Table 7)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch

from diffpose.model.lifting.lifter import row_seeds
from diffpose.platform.evaluation.evaluate import load_lifters
from diffpose.platform.evaluation.results import CONTEXT
from diffpose.platform.store.observations import read_observations
from diffpose.platform.store.pose_store import PoseStore, whole_clips

_FRAMES = 512
_TURNS = 3


def frames_per_s(
    store_uri: str, runs: Mapping[str, str], split: str, seed: int
) -> dict[str, float]:
    """Lift the same frames with every run, in turns.

    Args:
        store_uri: pose store.
        runs: run directories by name; not empty.
        split: whose first clips are lifted, some 512 frames.
        seed: of the hypotheses.

    Returns:
        Frames per second of CPU time of one thread, medians of three turns: each run from stored
        detections to hypotheses with its own sampling, and the first run's context encoder alone.
    """
    torch.set_num_threads(1)
    store = PoseStore.open(store_uri)
    first, stop, lengths = next(iter(whole_clips(store.clips(split), _FRAMES)))
    seen = read_observations(store, first, stop)
    seeds = row_seeds(seed, np.arange(first, stop))
    lifters = load_lifters(dict(runs), {})
    encoder, sampling = next(iter(lifters.values()))
    work: dict[str, Callable[[], object]] = {
        CONTEXT: partial(encoder.passes, seen, sampling, lengths)
    }
    for name, (lifter, own) in lifters.items():
        work[name] = partial(lifter.lift, seen, own, seeds, lengths)
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(_TURNS):
        for name, lift in work.items():
            start = time.thread_time()
            lift()
            seconds[name].append(time.thread_time() - start)
    return {name: (stop - first) / float(np.median(times)) for name, times in seconds.items()}
