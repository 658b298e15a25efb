"""Progressive Conditional Diffusion Models (arXiv 2310.06313), usable without any host."""
