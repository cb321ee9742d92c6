"""Covariances per joint, their recalibration, scores of distributions."""
