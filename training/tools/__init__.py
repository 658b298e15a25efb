"""Tools for the makers of this pack: the pose library, the example people, a timestep shift."""
