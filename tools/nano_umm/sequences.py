"""What one training sample reads and is to say or draw, as token ids; its pictures come by number.

Five kinds of samples, as the model is used: draw (prompt, then picture), tell (the same with a long
prompt), think (prompt, then a plan, then picture), ask (picture, then questions and answers), mend
(picture, then an instruction, or a reflection with a thought, then the changed picture).
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
"""Share of prompts that are left out, for guidance."""
QUESTIONS: Final = 4
"""A picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenBlocks:
    """Token ids of one text block or several, and which of them are to be predicted."""

    ids: list[int]
    scored: list[bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """Prompts and demands that training never sees."""

    texts: Collection[str]
    demands: Collection[tuple[object, ...]]
    """Of tasks with more than one object asked for; see `telling.facts_key`."""


class SequenceWriter:
    """Makes words for samples; every choice from the generator that is passed in."""

    def __init__(self, tokens: BagelTokens, held_out: HeldOut) -> None:
        self._tokens, self._held_out = tokens, held_out

    def block(self, text: str, *, scored: bool = False) -> TokenBlocks:
        """One text block; the start mark is never predicted, the end mark is."""
        ids = self._tokens.block(text)
        return TokenBlocks(ids=ids, scored=[False] + [scored] * (len(ids) - 1))

    def names(self) -> list[int]:
        """The token of each category's word; of one with several words, the last."""
        return [self._tokens.encode(f" {noun(name)}")[-1] for name in SMALL_CATEGORIES]

    def prompt(self, small: SmallScene, rng: np.random.Generator) -> str:
        """A wish in a line that this scene fulfils and that is not held out."""
        while True:
            text = self._any_prompt(small, rng)
            if text not in self._held_out.texts:
                return text

    def _any_prompt(self, small: SmallScene, rng: np.random.Generator) -> str:
        style = rng.random()
        if style < 0.75:
            asked = geneval_prompt(small, rng)
            if asked is not None and facts_key(asked.facts) not in self._held_out.demands:
                return asked.text
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

        That comes last: behind a description, answers could be read off it with closed eyes.
        """
        describes = rng.random() < 0.15
        turns: list[TokenBlocks] = []
        for _ in range(QUESTIONS - describes):
            asked = (yes_no if rng.random() < 0.6 else free_text_question)(small, rng)
            turns += [self.block(asked.text), self.block(asked.answer, scored=True)]
        if describes:
            turns += [self.block(DESCRIBE), self.block(caption(small), scored=True)]
        return _joined(*turns)

    def mend(self, change: SceneChange, rng: np.random.Generator) -> TokenBlocks:
        """An instruction, or nothing, or a reflection on a prompt that went wrong."""
        if rng.random() < 0.4:
            if rng.random() < DROPPED:
                return TokenBlocks(ids=[], scored=[])
            return self.block(change.instruction)
        wish = self.block(REFLECT.format(prompt=self.prompt(change.after, rng)))
        said = f"{change.complaint}. {change.instruction}"
        return _joined(wish, self.block(thought(said), scored=True))

    def keep(self, change: SceneChange, rng: np.random.Generator) -> TokenBlocks:
        """A reflection on a picture that is right as it is: `change.after`."""
        wish = self.block(REFLECT.format(prompt=self.prompt(change.after, rng)))
        return _joined(wish, self.block(thought(FINE), scored=True))


def _joined(*parts: TokenBlocks) -> TokenBlocks:
    return TokenBlocks(
        ids=[token for part in parts for token in part.ids],
        scored=[flag for part in parts for flag in part.scored],
    )
