"""Gaussian mixtures: parameters, and those of the image put into space."""
