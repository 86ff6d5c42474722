"""Checks the sizes in a configuration against the weights, before anything is built.

Model libraries allocate the sizes of a configuration before they read the weights: a wrong digit in
a config.json would end in a killed process. Compares numbers with the shapes in the headers of
safetensors files. Knows no architecture, only the usual names of fields.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from alphabench.core.errors import AlphaBenchError

METADATA: Final = "__metadata__"
"""The entry of a safetensors header that is no tensor."""

_COUNTS: Final = re.compile(r"layers|blocks|depth")
"""Counts of parts with tensors of their own."""
_WIDTHS: Final = re.compile(r"dim|channels|heads|width|hidden|intermediate|features|d_model|d_ff")
"""Dimensions of tensors."""
_OTHERS: Final = (
    (re.compile(r"theta|_ids?$|total_size"), None),
    (re.compile(r"^(?:unet|transformer)\w*/.*sample_size"), 512),
    (re.compile(r"sample_size|image_size|pos_embed_max_size|latent_size"), 8192),
    (re.compile(r"timesteps"), 100_000),
    (re.compile(r"vocab"), 2**21),
    (re.compile(r""), 2**25),
)
"""File and field -> the largest integer that is accepted, whatever the weights are.

A denoiser's sample_size is in latents, and is the default size of images."""
_MIN_COUNT: Final = 256
_MIN_WIDTH: Final = 4096
"""Small enough to be built; the weights are then compared tensor by tensor."""
_MARGIN: Final = 4
"""Times the largest dimension of a tensor: some widths are products of two fields."""


def check_sizes(
    config: Mapping[str, Any], headers: Iterable[Mapping[str, Any]], *, file: str, name: str
) -> None:
    """Refuse a configuration whose numbers are out of proportion to the weights.

    Args:
        config: the content of a config.json.
        headers: of the safetensors files that it describes; empty where they are unknown.
        file: which configuration, for the error.
        name: the checkpoint, for the error.

    Raises:
        AlphaBenchError: for the first such number.
    """
    shapes = [
        entry["shape"] for header in headers for key, entry in header.items() if key != METADATA
    ]
    widest = max((side for shape in shapes for side in shape), default=0)
    for key, value in _integers(config, ""):
        most = next(most for pattern, most in _OTHERS if pattern.search(f"{file}/{key}"))
        if shapes and _COUNTS.search(key):
            most = max(len(shapes), _MIN_COUNT)
        elif shapes and _WIDTHS.search(key):
            most = max(_MARGIN * widest, _MIN_WIDTH)
        if most is not None and abs(value) > most:
            raise AlphaBenchError(
                f"{file} of {name!r} has {key}={value}, which does not fit its weights",
                hint="fetch or save the checkpoint again",
            )


def _integers(value: Any, key: str) -> Iterator[tuple[str, int]]:
    """Each integer with the name of its field."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _integers(inner, str(name))
    elif isinstance(value, list):
        for inner in value:
            yield from _integers(inner, key)
    elif isinstance(value, int) and not isinstance(value, bool):
        yield key, value
