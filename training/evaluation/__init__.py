"""How good pictures are: judges, protocols and comparisons. No judge takes part in training.

What the folder is asked, and the command that answers:

- SSIM, LPIPS and FID of a folder of pictures under the protocol of PCDMs, PIDM or CFLD:
  `run.py measure` (`training/commands/measure.py`): `folders`, `protocols`, `inception`, `lpips`.
- The pictures of a benchmark's test pairs: `run.py run-benchmark`: `render_pairs`.
- The model card's tables, weights of our own on held-out rendered people: `run.py evaluate`:
  `__main__`, `held_out_pairs`, `pictures`, `measure_pairs`, `report`, `acceptance`.
- Sheets of such an evaluation: `run.py sheets`: `contact_sheets`.
- Settings, weights or codes on the same pairs: `python -m training.evaluation.compare_settings`
  and `learned_codes`.

Judges of one picture are `metrics`, `lpips` and `pose_judges`; of a
set of pictures `distances` on the features of `efficientnet` or `inception`. `weight_files`
verifies what people bring. What draws or trains belongs elsewhere.
"""
