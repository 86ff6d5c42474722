"""Token ids that one training sample reads and generates; its images come by number.

Five kinds of samples, by use: `draw` (prompt, then image), `tell` (the same with a long prompt),
`think` (prompt, then a plan, then image), `ask` (image, then questions and answers), `mend` (image,
then an instruction, or a reflection with a thought, then the changed image).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import numpy as np

from alphabench.models.bagel.tokenizer import BagelTokens
from alphabench.scenes.descriptions import (
    caption,
    facts_key,
    free_text_question,
    geneval_prompt,
    long_prompt,
    plan_text,
    short_prompt,
    yes_no,
)
from alphabench.scenes.riddles import hint
from alphabench.scenes.scene_edits import SceneChange
from alphabench.scenes.scene_questions import noun
from alphabench.scenes.small_world import SMALL_CATEGORIES, SmallScene
from tools.nano_umm.language import DESCRIBE, FINE, REFLECT, THINK, thought

DROPPED: Final = 0.1
"""Share of dropped prompts, for guidance."""
QUESTIONS: Final = 4
"""For each image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenBlocks:
    """Token ids of one text block or several, and which of them are to be predicted."""

    ids: list[int]
    scored: list[bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """Prompts and demands that are held out of training."""

    texts: Collection[str]
    demands: Collection[tuple[object, ...]]
    """Of tasks with more than one object; see `descriptions.facts_key`."""


class SequenceWriter:
    """Builds text blocks for samples; every choice comes from the generator passed in."""

    def __init__(self, tokens: BagelTokens, held_out: HeldOut) -> None:
        self._tokens, self._held_out = tokens, held_out

    def block(self, text: str, *, scored: bool = False) -> TokenBlocks:
        """One text block; the start mark is never predicted, the end mark is."""
        ids = self._tokens.block(text)
        return TokenBlocks(ids=ids, scored=[False] + [scored] * (len(ids) - 1))

    def names(self) -> list[int]:
        """The token of each category's word; for one with several words, the last."""
        return [self._tokens.encode(f" {noun(name)}")[-1] for name in SMALL_CATEGORIES]

    def prompt(self, small: SmallScene, rng: np.random.Generator) -> str:
        """A short prompt that this scene satisfies and that is not held out."""
        while True:
            text = self._any_prompt(small, rng)
            if text not in self._held_out.texts:
                return text

    def _any_prompt(self, small: SmallScene, rng: np.random.Generator) -> str:
        style = rng.random()
        if style < 0.75:
            candidate = geneval_prompt(small, rng)
            if candidate is not None and facts_key(candidate.facts) not in self._held_out.demands:
                return candidate.text
        if style < 0.82 and len(small.objects) == 1 and small.objects[0].colour is None:
            return hint(small.objects[0].category, rng)
        return short_prompt(small, rng)

    def draw(self, small: SmallScene, rng: np.random.Generator) -> TokenBlocks:
        """A prompt, or nothing."""
        if rng.random() < DROPPED:
            return TokenBlocks(ids=[], scored=[])
        return self.block(self.prompt(small, rng))

    def tell(self, small: SmallScene, rng: np.random.Generator) -> TokenBlocks:
        """A prompt of several sentences."""
        return self.block(long_prompt(small, rng))

    def think(self, small: SmallScene, rng: np.random.Generator) -> TokenBlocks:
        """The request to think, a prompt, a plan."""
        planned = thought(plan_text(small))
        return _joined(
            self.block(THINK),
            self.block(self.prompt(small, rng)),
            self.block(planned, scored=True),
        )

    def ask(self, small: SmallScene, rng: np.random.Generator) -> TokenBlocks:
        """Several questions, each with its answer, and at times the request to describe.

        That comes last: after a description, answers could be copied from the text.
        """
        with_description = rng.random() < 0.15
        blocks: list[TokenBlocks] = []
        for _ in range(QUESTIONS - with_description):
            question = (yes_no if rng.random() < 0.6 else free_text_question)(small, rng)
            blocks += [self.block(question.text), self.block(question.answer, scored=True)]
        if with_description:
            blocks += [self.block(DESCRIBE), self.block(caption(small), scored=True)]
        return _joined(*blocks)

    def mend(self, change: SceneChange, rng: np.random.Generator) -> TokenBlocks:
        """An instruction, or nothing, or a reflection on an image that is wrong."""
        if rng.random() < 0.4:
            if rng.random() < DROPPED:
                return TokenBlocks(ids=[], scored=[])
            return self.block(change.instruction)
        request = self.block(REFLECT.format(prompt=self.prompt(change.after, rng)))
        thought_text = f"{change.complaint}. {change.instruction}"
        return _joined(request, self.block(thought(thought_text), scored=True))

    def keep(self, change: SceneChange, rng: np.random.Generator) -> TokenBlocks:
        """A reflection on an image that is correct: `change.after`."""
        request = self.block(REFLECT.format(prompt=self.prompt(change.after, rng)))
        return _joined(request, self.block(thought(FINE), scored=True))


def _joined(*parts: TokenBlocks) -> TokenBlocks:
    return TokenBlocks(
        ids=[token for part in parts for token in part.ids],
        scored=[flag for part in parts for flag in part.scored],
    )
