"""What ``import diffpose`` gives: a run to ask from Python, without Ray or a server."""
