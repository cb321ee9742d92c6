"""The method: pure torch and numpy, no Ray, no Zarr, nothing else of this project."""
