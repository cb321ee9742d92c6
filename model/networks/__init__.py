"""The denoiser g and the context encoders."""
