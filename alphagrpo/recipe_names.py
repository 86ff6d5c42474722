"""The names of the recipes in this package, for completion and lists. Reads no recipe."""

from __future__ import annotations

from importlib import resources


def recipe_names(incomplete: str = "") -> list[str]:
    """Names in order, without `.yaml`.

    Args:
        incomplete: what a name must start with.
    """
    folder = resources.files("alphagrpo") / "recipes"
    files = [entry.name for entry in folder.iterdir()]
    names = (name.removesuffix(".yaml") for name in files if name.endswith(".yaml"))
    return sorted(name for name in names if name.startswith(incomplete))
