"""The networks of the bundled 2D detector."""
