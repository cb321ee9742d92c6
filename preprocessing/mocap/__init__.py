"""Motion capture: BVH files, joint maps, bodies, virtual cameras, a procedural generator."""
