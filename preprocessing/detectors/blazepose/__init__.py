"""BlazePose: finding people and their joints with the networks of MediaPipe's pose solution."""
