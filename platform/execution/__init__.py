"""Ray sessions and streams of tasks."""
