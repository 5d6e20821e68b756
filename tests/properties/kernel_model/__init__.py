"""A model to try the kernel with: random programs, a world that answers them, and what can be seen of a run."""
