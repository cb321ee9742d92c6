"""Several calibrated cameras that saw the same."""
