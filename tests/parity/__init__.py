"""Compare the pack with reference tensors of the published implementation.

`python -m tests.parity DIR` (or `python run.py parity DIR`), where DIR is a folder of fixtures or
one of them. Everything that a fixture states is read from its manifest.
"""
