"""Token sequences to learn from: a shared beginning with pictures, and questions that branch off.

Every branch sees the beginning and itself alone, so that many questions share a picture's cost and
each is learnt as it will be asked. The ids are those that the chat template gives.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np

from alphabench.scenes.scene_questions import a_noun
from tools.nano_judge import templates
from tools.nano_judge.claims import phrase, text
from tools.nano_judge.corpus import riddle
from tools.nano_judge.design import END, END_PICTURE, PICTURE, START_PICTURE
from tools.nano_judge.edits import Pair
from tools.nano_judge.questions import BAD_GRADE, questions, short_question
from tools.nano_judge.scene_images import CELLS
from tools.nano_judge.view import View, one_choice

_ENDED: Final = 0.15
"""Share of yes and no that are followed by the end, which is soon learnt."""
_GRADE_WEIGHT: Final = 0.4
"""Of each token of a graded reply; yes and no count 1."""
_EDIT_WEIGHT: Final = 5.0
"""Of each token of a reply about an edit, of which there are few beside yes and no."""
_SYSTEM: Final = 0.3
"""Share of documents that ask as DVReward does."""
_RIDDLES: Final = 0.35
"""Share of the others with a riddle among their questions."""
_OPEN: Final = 5
"""Questions about a picture that are answered in words of their own."""
_OPEN_WEIGHT: Final = 0.7
_WHOLES: Final = 0.35
"""Share of documents with a whole prompt among their questions."""


@dataclass(frozen=True, slots=True)
class Branch:
    """A question and its reply."""

    ids: tuple[int, ...]
    asked: int
    """How many of the ids are the question; the rest is learnt."""
    weight: float


@dataclass(frozen=True, slots=True)
class Document:
    """Ids of the beginning, with one id for each of a picture's tokens, and branches."""

    beginning: tuple[int, ...]
    pictures: int
    branches: tuple[Branch, ...]

    def __len__(self) -> int:
        return len(self.beginning) + sum(len(branch.ids) for branch in self.branches)


class DocumentWriter:
    """Writes documents with one tokenizer.

    Args:
        tokenizer: of the folder.
        words: prose, for riddles.
    """

    def __init__(self, tokenizer: Any, words: list[str]) -> None:
        self.words = words
        self.encode = lru_cache(200_000)(
            lambda said: tuple(tokenizer.encode(said, add_special_tokens=False))
        )
        self.picture = self.encode(f"{START_PICTURE}{PICTURE}{END_PICTURE}")

    def _shown(self) -> tuple[int, ...]:
        start, picture, end = self.picture
        return (start, *[picture] * CELLS, end)

    def _branch(self, asked: str, reply: str, weight: float) -> Branch:
        head, tail = self.encode(asked + END), self.encode(reply) + self.encode(END)
        return Branch((*head, *tail), len(head), weight)

    def _word(self, asked: str, truth: bool, *, ended: bool) -> Branch:
        head = self.encode(asked + END)
        tail = (*self.encode("yes" if truth else "no"), *(self.encode(END) if ended else ()))
        return Branch((*head, *tail), len(head), 1.0)

    def yes_no(
        self, view: View, count: int, rng: np.random.Generator, *, riddles: bool = True
    ) -> Document:
        """Questions about one picture, one of them perhaps a riddle."""
        told = rng.random() < _SYSTEM
        beginning = self._shown()
        if told:
            beginning = (*self.encode(templates.DVREWARD_SYSTEM + END), *beginning)
        branches = []
        for asked in questions(view, count - _OPEN if riddles else count, rng):
            form = templates.DVREWARD if told or rng.random() < 0.2 else templates.OWN
            bare = not told and rng.random() < 0.12
            words = asked.text if bare else form.filled(asked.text)
            branches.append(self._word(words, asked.truth, ended=bool(rng.random() < _ENDED)))
        if riddles and view.shown.grade > BAD_GRADE:
            made = [short_question(view, rng) for _ in range(_OPEN)]
            branches += [self._answer(*one) for one in made if one is not None]
        if riddles and not told and view.shown.grade > BAD_GRADE and rng.random() < _RIDDLES:
            branches += [one for one in (self._riddle(view, rng),) if one is not None]
        if riddles and view.shown.grade > BAD_GRADE and rng.random() < _WHOLES:
            form = templates.DVREWARD if told else templates.OWN
            branches += [one for one in (self._whole(view, form, rng),) if one is not None]
        return Document(beginning, 1, tuple(branches))

    def _answer(self, asked: str, reply: str) -> Branch:
        # With the blank that words have inside texts, so that the answer is one token.
        head, tail = self.encode(asked + END), self.encode(f" {reply}") + self.encode(END)
        return Branch((*head, *tail), len(head), _OPEN_WEIGHT)

    def _whole(
        self, view: View, form: templates.Sentences, rng: np.random.Generator
    ) -> Branch | None:
        """All of a prompt in one question, as DVReward asks where nobody took it apart."""
        claim = text(view, rng)
        if claim is None:
            return None
        asked = form.filled(f"Does the picture show all of this: {claim.words}?")
        return self._word(asked, claim.held == claim.made, ended=False)

    def _riddle(self, view: View, rng: np.random.Generator) -> Branch | None:
        claim = phrase(view, rng)
        if claim is None:
            return None
        lead = f"{riddle(self.words, rng).capitalize()}. "
        if rng.random() < 0.4:
            name = one_choice([*view.counts, *view.absent], rng)
            lead = f"This refers to {a_noun(name)}. "
        answer = f"{lead}The image should show {claim.words}."
        question = riddle(self.words, rng).capitalize()
        fully = claim.held == claim.made
        if rng.random() < 0.6:
            asked = templates.WISE_BINARY.filled(question, answer)
            return self._branch(asked, templates.ONE_ANSWER.filled(str(int(fully))), 1.0)
        consistency = 2 if fully else 1 if claim.there else 0
        made = _of_two(view.shown.grade)
        reply = templates.THREE_ANSWER.filled(str(consistency), str(made), str(made))
        asked = templates.WISE_THREE.filled(question, answer)
        return self._branch(asked, reply, _GRADE_WEIGHT)

    def holistic(self, view: View, rng: np.random.Generator) -> Document:
        """Grades of one picture, for several texts."""
        beginning = (*self.encode(templates.HOLISTIC_SYSTEM + END), *self._shown())
        branches = []
        for _ in range(3):
            claim = text(view, rng) if view.shown.grade > BAD_GRADE else None
            if claim is None:
                continue
            share = claim.held / claim.made if claim.there else 0.0
            why = "all" if share == 1 else "part" if share else "none"
            reply = templates.CONSISTENCY_ANSWER.filled(
                templates.REASONS[why], str(round(10 * share))
            )
            asked = templates.CONSISTENCY.filled(f'"{claim.words}"')
            branches.append(self._branch(asked, reply, _GRADE_WEIGHT))
        grade = str(view.shown.grade)
        reply = templates.QUALITY_ANSWER.filled(why_of(view.shown.grade), grade, grade)
        branches.append(self._branch(templates.QUALITY, reply, _GRADE_WEIGHT))
        return Document(beginning, 1, tuple(branches))

    def look(self, grade: int) -> Document:
        """VIEScore's question about how well a picture is made: the text comes first."""
        reply = templates.EDIT_ANSWER.filled(str(grade), str(grade), why_of(grade))
        tail = (*self.encode(END), *self.encode(reply), *self.encode(END))
        head = (*self.encode(templates.LOOK), *self._shown())
        return Document(head, 1, (Branch(tail, 1, _GRADE_WEIGHT),))

    def edit(self, pair: Pair, rng: np.random.Generator) -> Document:
        """VIEScore's question about an edit: text, picture before, picture after."""
        why = {"done": "done", "unedited": "undone", "overedited": "more"}.get(pair.outcome)
        why = why or ("half" if pair.success > 0 else "undone")
        reply = templates.EDIT_ANSWER.filled(
            str(pair.success), str(pair.rest), templates.REASONS[why]
        )
        asked = templates.EDIT.filled(one_choice(pair.instructions, rng))
        head = (*self.encode(asked), *self._shown(), *self._shown())
        tail = (*self.encode(END), *self.encode(reply), *self.encode(END))
        return Document(head, 2, (Branch(tail, 1, _EDIT_WEIGHT),))

    def order(self, first: View, second: View, rng: np.random.Generator) -> Document:
        """What is in the first of two pictures, and in the second."""
        branches = []
        for _ in range(6):
            views = (first, second)
            at = int(rng.integers(2))
            names = sorted({*views[at].counts} if rng.random() < 0.5 else {*views[1 - at].counts})
            if not names:
                continue
            name = one_choice(names, rng)
            if any(name in view.shown.hidden for view in views):
                continue
            truth = name in views[at].counts
            place = ("in the first picture", "in the second", "in the second picture")
            where = place[0] if at == 0 else one_choice(place[1:], rng)
            asked = templates.OWN.filled(f"Is there {a_noun(name)} {where}?")
            branches.append(self._word(asked, truth, ended=False))
        return Document((*self._shown(), *self._shown()), 2, tuple(branches))


def why_of(grade: int) -> str:
    """The reason that goes with a grade for how well a picture is made."""
    name = "clean" if grade >= 8 else "marred" if grade > BAD_GRADE else "spoilt"
    return templates.REASONS[name]


def _of_two(grade: int) -> int:
    return 2 if grade >= 8 else 1 if grade > BAD_GRADE else 0
