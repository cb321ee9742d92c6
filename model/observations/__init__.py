"""What a detector says of one person, and the uncertain pose H_K it leads to."""
