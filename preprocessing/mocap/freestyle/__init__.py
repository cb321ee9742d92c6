"""Motion of our own that resembles what people do freely."""
