"""Training of the context encoder and the denoiser on Ray Train."""
