"""Few-step students of stages 2 and 3.

`stages` says what a student is asked for, `lora` is the low-rank difference that it learns, `run`
is the command.
"""
