"""The reinforcement-learning engine: knows no model, judge or benchmark.

So far its numerics only: noise schedules, denoising steps with log-probabilities, windows of
trained steps, advantages, and losses of image and text. There is no trajectory, replay, training
loop, engine or checkpointing yet, and no command that trains.
"""
