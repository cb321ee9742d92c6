"""Files of 2D keypoints in the field's formats."""
