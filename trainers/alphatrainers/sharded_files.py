"""The files of a checkpoint whose values lie in parts: which it has, and reading some of them.

    state.json                 "format": 3, and the size of each file in shards/
    shards/                    each process's parts of weights and optimiser
    replicated.safetensors     the values that all processes have

A name is VIEW/PARAMETER, or optimizer/SLOT.PARAMETER. Knows no counters and no policy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Size, Tensor

from alphabench.core.errors import AlphaBenchError, DamagedError
from alphatrainers.protocols import JsonValue
from alphatrainers.shards import FILES, read_shards, shapes_of_shards

SHARDED_FORMAT: Final = 3
"""Of `state.json` beside `shards/`; versions before 0.3 know nothing of it."""
SHARDS: Final = "shards"
"""Folder in a checkpoint of which each process writes a part."""
_REPLICATED: Final = "replicated.safetensors"
_OPTIMISER: Final = "optimizer"


def shard_name(what: str, name: str) -> str:
    """The name of a value: of a view's weights, or of the optimiser's slot."""
    return f"{what}/{name}"


def write_replicated(folder: Path, values: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Writes complete values, by view or `optimizer` and then by name."""
    save_file(
        {
            shard_name(what, name): value
            for what, some in values.items()
            for name, value in some.items()
        },
        folder / _REPLICATED,
    )


def read_replicated(folder: Path) -> dict[str, dict[str, Tensor]]:
    """What `write_replicated` wrote."""
    values: dict[str, dict[str, Tensor]] = {}
    for key, value in load_file(folder / _REPLICATED).items():
        what, _, name = key.partition("/")
        values.setdefault(what, {})[name] = value
    return values


def sizes_of_shards(folder: Path) -> dict[str, JsonValue]:
    """The bytes of each file in `shards/`."""
    return {path.name: path.stat().st_size for path in (folder / SHARDS).glob(FILES)}


def require_sizes(folder: Path, sizes: Mapping[str, int]) -> None:
    """Finds files of `shards/` that are gone or cut off.

    Raises:
        OSError: one is gone.
        ValueError: one is longer or shorter than it was.
    """
    for name, size in sizes.items():
        found = (folder / SHARDS / name).stat().st_size
        if found != size:
            raise ValueError(f"{name} has {found} bytes of {size}")


class ShardedWeights:
    """The weights of a checkpoint in parts.

    Args:
        folder: of the checkpoint.

    Raises:
        DamagedError: a file is gone, or not as it was written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
            require_sizes(folder, state["shards"])
            with safe_open(folder / _REPLICATED, framework="pt") as file:
                same = {name: Size(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118  not a dict
        except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
            raise DamagedError(
                f"the checkpoint {str(folder)!r} is damaged ({error})",
                hint="name another checkpoint of the training, or restore it from a copy",
            ) from error
        self._same = set(same)
        self._shapes = {**same, **shapes_of_shards(folder / SHARDS)}

    def shapes(self, view: str) -> dict[str, Size]:
        """The shape of each trained value of a view.

        Raises:
            AlphaBenchError: the checkpoint has no such view.
        """
        found: dict[str, dict[str, Size]] = {}
        for key, shape in self._shapes.items():
            what, _, name = key.partition("/")
            found.setdefault(what, {})[name] = shape
        found.pop(_OPTIMISER, None)
        if view not in found:
            raise AlphaBenchError(
                f"the checkpoint {str(self._folder)!r} holds no {view!r} weights",
                hint=f"name one of {', '.join(str(self._folder / one) for one in sorted(found))}",
            )
        return found[view]

    def read(self, view: str, places: Mapping[str, Tensor]) -> None:
        """Reads a view's values into tensors of their shapes, part by part.

        Args:
            view: one of the checkpoint's.
            places: by parameter, on the CPU; values take their types.

        Raises:
            DamagedError: they cannot be read.
        """
        named = {shard_name(view, name): place for name, place in places.items()}
        parts = {name: place for name, place in named.items() if name not in self._same}
        if parts:
            read_shards(self._folder / SHARDS, parts)
        with safe_open(self._folder / _REPLICATED, framework="pt") as file:
            for name in self._same & named.keys():
                named[name].copy_(file.get_tensor(name))
