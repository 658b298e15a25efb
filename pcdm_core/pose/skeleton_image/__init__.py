"""Skeleton pictures read back to key points: the reverse of `pose.render`."""
