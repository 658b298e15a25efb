"""Skeleton pictures read back to key points: colours (`marks`), bodies (`read`), then `hands`."""
