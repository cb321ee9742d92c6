"""From recordings to the pose store: sources, detectors, mixtures, writers."""
