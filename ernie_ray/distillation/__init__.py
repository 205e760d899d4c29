"""Distillation: how a teacher is asked and how a student learns from what it said.

Knows Paddle and the Predictor; knows nothing of Ray.
"""
