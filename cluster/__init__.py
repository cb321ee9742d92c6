"""Cluster descriptions; data files only."""
