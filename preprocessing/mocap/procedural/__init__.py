"""Motion that the project makes itself."""
