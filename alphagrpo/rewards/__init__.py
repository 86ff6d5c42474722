"""Rewards of trajectories: one module per kind, and the table of kinds in `reward_kinds`."""
