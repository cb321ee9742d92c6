"""Errors on known poses, figures, comparisons, published results."""
