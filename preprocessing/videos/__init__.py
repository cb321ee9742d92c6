"""Videos as a source: decoding, people, what is known beside the pixels."""
