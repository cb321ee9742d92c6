"""Looking at stores, sources and detectors."""
