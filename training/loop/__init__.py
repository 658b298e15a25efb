"""The training loop that every stage shares.

`trainer` takes steps, `state` is what a run consists of while it lasts, `checkpoints` keeps it on
disk, `sample_rng` draws numbers by sample, `distributed` spreads a run over processes, `run_log`
and `sample_sheets` show a person how it goes.
"""
