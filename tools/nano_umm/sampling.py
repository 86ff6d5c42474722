"""Random small scenes, which live in the package; the names that the tools here use."""

from alphabench.scenes.small_sample import (
    TASKS,
    random_change,
    random_colour,
    random_scene,
    random_small,
    task_small,
)

__all__ = ["TASKS", "random_change", "random_colour", "random_scene", "random_small", "task_small"]
