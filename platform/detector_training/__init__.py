"""Training of the bundled detector."""
