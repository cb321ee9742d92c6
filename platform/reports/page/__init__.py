"""HTML, SVG and colours of a page."""
