"""From detections to poses: losses, the reverse walk, refinement."""
