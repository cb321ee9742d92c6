"""Which clip gets which rows, fixed before any work."""
