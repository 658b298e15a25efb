"""Progressive Conditional Diffusion Models (arXiv 2310.06313), usable without any host.

Here is what a picture needs and nothing else. `presets` has every size, prediction type and noise
table, `pipeline` runs the three stages of `models/`, `checkpoints/` reads and writes weights, and
`pose/` all about key points. `cli` is the command `pcdm`.
"""
