"""Virtual cameras before recorded motion: a laboratory's ring, or cameras of the world."""
