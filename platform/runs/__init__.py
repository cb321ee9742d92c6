"""Run directories: weights, configuration, uncertainty; the authors' checkpoints."""
