"""Measures weights on people that training never saw; no judge here takes part in training."""
