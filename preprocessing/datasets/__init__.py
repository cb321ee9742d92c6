"""Data sets of the field as sources: the real formats, the real cameras."""
