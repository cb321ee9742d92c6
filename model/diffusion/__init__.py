"""The noise schedule and eq. 7, forwards and back."""
