"""Stage 2's own pictures of training pairs, which stage 3 learns to refine."""
