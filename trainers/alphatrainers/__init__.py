"""The reinforcement-learning engine: knows no model, judge or benchmark.

Nothing is here yet; the harness (`alphabench`) came first.
"""
