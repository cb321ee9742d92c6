"""EM in three engines behind one interface."""
