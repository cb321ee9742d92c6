"""Each kind of recording as stages that end in detections."""
