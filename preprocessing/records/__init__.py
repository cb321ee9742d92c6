"""What travels between stages: clips, names, seeds."""
