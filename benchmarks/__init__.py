"""Speed, memory and precision, measured; nothing here ships.

`python run.py bench` times this pack (`variants`) beside the published scripts' way of working
(`published_baseline`), in turn within one run, so that ratios hold on a busy machine. `memory`
counts what the published size needs, `comfyui` times the workflows in a real host that `server`
starts, `precision` compares half types with fp32, `training_step` times a step of training.
`report` makes the tables, README's among them.
"""
