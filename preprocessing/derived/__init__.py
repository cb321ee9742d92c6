"""What is made of stored detections: contexts and mixtures."""
