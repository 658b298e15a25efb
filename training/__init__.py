"""The workshop: makes the weights and measures them. Nothing here ships.

`stages` is what learns: a stage's `prepare` makes the training batch, its `forward` is the loss
(stage 3: `stages/refining.py`, with the one denoising loss in `stages/losses.py`). `loop` takes the
steps and keeps checkpoints; `data` reads people, `features` what frozen encoders see of them,
`coarse` draws stage 2's pictures for stage 3. `distillation` makes few-step students, `evaluation`
measures, `synthetic` renders people. `commands` are those of `run.py`, `tools` are for the makers;
`config` is a run as a YAML file of `configs`.
"""
