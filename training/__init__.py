"""Reproduces the weights: synthetic people, one training loop for every stage, evaluation."""
