"""The surroundings of a person."""
