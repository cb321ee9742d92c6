"""Measurements, side by side in one run; RESULTS.md holds what they found."""
