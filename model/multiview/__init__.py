"""Several calibrated cameras, and what they say together."""
