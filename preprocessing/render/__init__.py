"""Films with known truth: motion capture on a lit, dressed body, written as H.264 video."""
