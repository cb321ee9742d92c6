"""The pose store and what else is kept beside it."""
