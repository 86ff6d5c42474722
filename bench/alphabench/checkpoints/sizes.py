"""Whether a configuration asks for sizes that its weights bear out; asked before anything is built.

Model libraries allocate what a configuration says before they look at the weights: a wrong digit in
a config.json would end in a killed process. Compares numbers with the shapes in the headers of
safetensors files. Knows no architecture, only what its fields are usually called.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from alphabench.errors import AlphaBenchError

_COUNTS: Final = re.compile(r"layers|blocks|depth")
"""Parts that each hold tensors of their own."""
_WIDTHS: Final = re.compile(r"dim|channels|heads|width|hidden|intermediate|vocab|features|d_model|d_ff")
"""Sides of tensors."""
_SAMPLE: Final = re.compile(r"sample_size|image_size|pos_embed_max_size|latent_size")
"""Sides of images or latents, squared in tables of positions."""
_ANYTHING: Final = re.compile(r"theta|_ids?$|total_size")
"""May be as large as they like."""
_LEAST_WIDTH: Final = 4096
_MARGIN: Final = 4
"""Times the largest side of a tensor: some widths are products of two fields."""
_LARGEST_SAMPLE: Final = 8192
_LARGEST: Final = 2**25
"""Of all other whole numbers; more than the longest context and the largest vocabulary."""


def check_sizes(
    config: Mapping[str, Any], headers: Iterable[Mapping[str, Any]], *, file: str, name: str
) -> None:
    """Refuse a configuration whose numbers are out of all proportion to the weights.

    Args:
        config: the content of a config.json.
        headers: of the safetensors files that it describes; none where they are not known.
        file: which configuration, for the error.
        name: the checkpoint, for the error.

    Raises:
        AlphaBenchError: for the first such number.
    """
    shapes = [
        entry["shape"]
        for header in headers
        for key, entry in header.items()
        if key != "__metadata__"
    ]
    widest = max((side for shape in shapes for side in shape), default=_LARGEST)
    for key, value in _whole_numbers(config, ""):
        most = _LARGEST
        if _SAMPLE.search(key):
            most = _LARGEST_SAMPLE
        elif _COUNTS.search(key) and shapes:
            most = max(len(shapes), 2)
        elif _WIDTHS.search(key):
            most = max(_MARGIN * widest, _LEAST_WIDTH)
        if abs(value) > most and not _ANYTHING.search(key):
            raise AlphaBenchError(
                f"{file} of {name!r} has {key}={value}, which its weights do not bear out",
                hint="fetch or save the checkpoint again",
            )


def _whole_numbers(value: Any, key: str) -> Iterator[tuple[str, int]]:
    """Each whole number with the name of the field that holds it."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _whole_numbers(inner, str(name))
    elif isinstance(value, list):
        for inner in value:
            yield from _whole_numbers(inner, key)
    elif isinstance(value, int) and not isinstance(value, bool):
        yield key, value
