"""The training commands of `run.py`, one a file: what each reads, writes and in which order."""
