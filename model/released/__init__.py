"""The networks and the walk of the authors' released code."""
