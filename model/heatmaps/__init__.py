"""Heatmaps: the grid, its cells drawn, their temperature."""
