"""Measures how BAGEL decodes text: `python -m tools.perf.bagel_decoding`, about a minute on a core.

Three ways write the same tokens in one process, in turns, from the same random weights: all rows in
reserved key slots, all rows with keys concatenated in every layer at every token (as before), and
two rows at a time in reserved slots. On a CPU a token of many rows costs more than one of two; on a
GPU, where reading the weights decides, it costs nearly the same. Seconds are those of the
processor, so that other processes do not count.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Final

import torch

from alphabench.models.bagel.kv_cache import Context
from alphabench.models.bagel.model import Bagel, ImageMarks
from alphabench.models.bagel.text_decoding import generate_text
from tools.perf.bagel_sampling import print_row, small

START: Final = 1
PAIR: Final = 2
Texts = list[list[int]]


def reserved(model: Bagel, context: Context, n_tokens: int) -> Texts:
    """As the package does it."""
    return generate_text(model, context, start=START, end=-1, max_tokens=n_tokens)


@torch.no_grad()
def concatenated(model: Bagel, context: Context, n_tokens: int) -> Texts:
    """Each token makes new keys and values of all layers, and passes through the host."""
    texts = [[START] for _ in range(context.rows)]
    for _ in range(n_tokens):
        read = model.read_text(context, [text[-1:] for text in texts])
        context = read.context
        for text, token in zip(
            texts, model.logits(read.hidden_TD).argmax(-1).tolist(), strict=True
        ):
            text.append(token)
    return texts


def in_pairs(model: Bagel, context: Context, n_tokens: int) -> Texts:
    """Two rows at a time."""
    return [
        text
        for first in range(0, context.rows, PAIR)
        for text in reserved(
            model, context.take(range(first, min(first + PAIR, context.rows))), n_tokens
        )
    ]


WAYS: Final[dict[str, Callable[[Bagel, Context, int], Texts]]] = {
    "reserved slots": reserved,
    "keys concatenated": concatenated,
    "two rows at a time": in_pairs,
}


def main() -> None:
    """Print a line for each way, and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=14)
    parser.add_argument("--read", type=int, default=300, help="tokens read before")
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    config, _, _ = small()
    torch.manual_seed(0)
    model = Bagel(config, ImageMarks(start=3, end=4)).eval()
    ids = torch.randint(10, 500, (options.rows, options.read)).tolist()
    with torch.no_grad():
        context = model.read_text(model.new_context(options.rows), ids).context
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    expected = reserved(model, context, options.tokens)
    for _ in range(options.repeats):
        for name, way in WAYS.items():
            began = time.process_time()
            assert way(model, context, options.tokens) == expected, name
            seconds[name].append(time.process_time() - began)
    n_tokens = options.rows * options.tokens
    base = median(seconds["reserved slots"])
    for name, measured in seconds.items():
        print_row(
            way=name,
            ms_per_token=round(1e3 * median(measured) / n_tokens, 4),
            times_reserved=round(median(measured) / base, 2),
        )


if __name__ == "__main__":
    main()
