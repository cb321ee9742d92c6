"""Triangles, patterns, shadows and pixels."""
