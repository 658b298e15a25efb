"""The tests, and the comparison with reference tensors (`python -m tests.parity`)."""
