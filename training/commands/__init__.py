"""The training commands of `run.py`, one a file: what each reads, writes and in which order.

`rendered_run` is what runs on rendered people share, `components` how parts are read and written.
"""
