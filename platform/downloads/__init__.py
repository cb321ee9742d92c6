"""Bringing what others publish to this machine, checked."""
