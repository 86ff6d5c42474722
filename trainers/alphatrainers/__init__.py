"""The reinforcement-learning engine: knows no model, judge or benchmark.

A policy, a task, rewards and validations come in through the protocols of `policy`; what was
sampled is held in the types of `segments`; `loop.Run` trains. Numerics stand apart: `kernels`,
`schedules`, `windows`, `advantages` and `losses` are pure functions. Imports neither the harness
nor the method.
"""
