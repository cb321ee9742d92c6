"""2D detectors: from frames (or known poses) to heatmaps."""
