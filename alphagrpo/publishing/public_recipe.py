"""A recipe as it may be published: without folders and addresses of the machine it is from."""

from __future__ import annotations

from typing import Any

import yaml

from alphabench.core.public_texts import public_text
from alphabench.core.yaml_parsing import Tree


def public_recipe(recipe: Tree) -> str:
    """A recipe as YAML that names no folder and no address of the machine it was written on.

    Without its notes: they are about the trainings of whoever wrote it.
    """
    kept = {key: value for key, value in recipe.items() if key != "about"}
    return yaml.safe_dump(_public(kept), sort_keys=False, allow_unicode=True)


def _public(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _public(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_public(one) for one in value]
    return public_text(value) if isinstance(value, str) else value
