"""Errors, files, settings, the command line: what every room above needs."""
