"""Poses of people in recordings, written to files."""
