"""Joints, cameras, rays and rigid motions."""
