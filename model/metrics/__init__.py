"""Errors of poses in mm, the data sets' protocols, intervals."""
