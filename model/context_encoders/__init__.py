"""Context encoders: from a 2D pose to the context feature f_ST and a first 3D pose."""
