"""People in videos: looked for, tracked, cut into clips."""
