"""Motion and films of our own making."""
