"""What poses say of the world and of the body's movement: frames, floor, contacts, angles."""
