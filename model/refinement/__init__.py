"""The MAP step after the walk: what heatmaps, bones and a detector's own pose say of an answer."""
