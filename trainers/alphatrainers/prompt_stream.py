"""Which prompts a training step gets, from its number alone: nothing to save, nothing to lose.

Knows no file.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence

from alphabench.core.errors import AlphaBenchError
from alphatrainers.trajectory import TrainingPrompt


class PromptStream:
    """Endless: each epoch in a new order, complete steps only, no prompt twice in a step."""

    def __init__(self, prompts: Sequence[TrainingPrompt], *, per_step: int, seed: int) -> None:
        if len(prompts) < per_step:
            raise AlphaBenchError(
                f"{len(prompts)} prompts are fewer than the {per_step} of a step",
                hint="lower prompts_per_step",
            )
        ids = [prompt.id for prompt in prompts]
        if len(set(ids)) != len(ids):
            duplicate = next(name for name in ids if ids.count(name) > 1)
            raise AlphaBenchError(f"prompt id {duplicate!r} occurs twice", hint="make ids unique")
        self._prompts, self._per_step, self._seed = list(prompts), per_step, seed

    def at(self, step: int) -> list[TrainingPrompt]:
        """The prompts of a training step, counted from 0."""
        steps = len(self._prompts) // self._per_step
        epoch, position = divmod(step, steps)
        order = list(range(len(self._prompts)))
        random.Random(f"prompts {self._seed} {epoch}").shuffle(order)  # noqa: S311  no secret
        chosen = order[position * self._per_step : (position + 1) * self._per_step]
        return [self._prompts[index] for index in chosen]

    @property
    def digest(self) -> str:
        """See `digest_of`."""
        return digest_of(self._prompts)


def digest_of(prompts: Sequence[TrainingPrompt]) -> str:
    """SHA-256 of ids, texts and facts, in order: what a folder knows its prompts by."""
    digest = hashlib.sha256()
    for prompt in prompts:
        row = [prompt.id, prompt.text, dict(prompt.facts)]
        digest.update(json.dumps(row, sort_keys=True, default=str).encode())
    return digest.hexdigest()
