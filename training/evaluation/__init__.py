"""Judges, protocols and studies; no judge takes part in training.

`run` measures weights of our own on `held_out_pairs` with `judges` and `report`s; `folders`,
`protocols`, `inception` and `lpips` measure any pictures as the field's papers do; the files named
`..._study`, `compare_settings` and `acceptance` are the evidence behind choices.
"""
