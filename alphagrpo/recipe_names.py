"""Where recipes are: their names in this package, and the file in a training's folder.

Reads no recipe and imports no model library: for completion and lists.
"""

from __future__ import annotations

from importlib import resources
from typing import Final

RECIPE_FILE: Final = "recipe.yaml"
"""In a training's folder: the recipe it started with, overrides included."""


def recipe_names(incomplete: str = "") -> list[str]:
    """Names in order, without `.yaml`.

    Args:
        incomplete: what a name must start with.
    """
    folder = resources.files("alphagrpo") / "recipes"
    files = [entry.name for entry in folder.iterdir()]
    names = (name.removesuffix(".yaml") for name in files if name.endswith(".yaml"))
    return sorted(name for name in names if name.startswith(incomplete))
