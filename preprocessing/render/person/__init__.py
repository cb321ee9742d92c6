"""A dressed body."""
