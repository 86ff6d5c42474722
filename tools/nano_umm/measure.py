"""Measures a nano model on scenes it was not trained on; prints the tables of its card as markdown.

    python -m tools.nano_umm.measure FOLDER --count 300

Pictures are judged by the nano detector under GenEval's rules, answers by the scenes' truth.
`alphabench run geneval:mini --ckpt nano` measures the held-out prompts of the mini split.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from PIL import Image

from alphabench.checkpoints import open_checkpoint
from alphabench.detections.geneval_rules import colour_questions, decide, select
from alphabench.evaluators.detection.detector import ColourQuery, ColourReader, Detector
from alphabench.evaluators.detection.nano_detector import open_nano_detector
from alphabench.models.unified_model import (
    AnswerTask,
    GenerationResult,
    GenerationTask,
    UnifiedModel,
)
from alphabench.scenes.descriptions import ScenePrompt, free_text_question, geneval_prompt, yes_no
from alphabench.scenes.small_world import SmallScene
from alphabench.scenes.small_world_sampling import TASKS, task_small
from tools.nano_umm import pool
from tools.nano_umm.language import REFLECT

_BATCH: Final = 32


class Wish(NamedTuple):
    """Something to draw or to change, and what must then be seen."""

    kind: str
    prompt: str
    facts: Mapping[str, Any]
    source: Image.Image | None = None


class Examiner:
    """GenEval's rules on what the nano detector sees."""

    def __init__(self) -> None:
        opened: tuple[Detector, ColourReader] = open_nano_detector({}, device="cpu")
        self._detector, self._colours = opened

    def right(
        self, pictures: Sequence[Image.Image], facts: Sequence[Mapping[str, Any]]
    ) -> list[bool]:
        """Whether each picture obeys its facts."""
        verdicts: list[bool] = []
        for picture, found, asked in zip(
            pictures, self._detector.detect(pictures), facts, strict=True
        ):
            selected = select(found, tag="", thresholds=self._detector.thresholds)
            queried = colour_questions(asked, selected)
            queries = [ColourQuery(image=picture, found=one) for one in queried]
            named = dict(zip(queried, self._colours.read(queries) if queries else [], strict=True))
            verdicts.append(decide(asked, selected, named.__getitem__).correct)
        return verdicts


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--count", type=int, default=300, help="scenes of each kind")
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    opened: Any = open_checkpoint(chosen.folder)
    model: UnifiedModel = opened.model()
    examiner = Examiner()
    for think in (False, True):
        print(f"\nDrawing, thinking {'on' if think else 'off'}\n")
        tabulate(_draw(model, examiner, list(prompts(chosen.count)), think=think))
    print("\nEditing\n")
    tabulate(_draw(model, examiner, list(edits(chosen.count)), think=False))
    print("\nReflection on a picture with one mistake (after / before)\n")
    wishes = list(mistakes(chosen.count))
    tabulate(_draw(model, examiner, wishes, think=True))
    tabulate(zip((wish.kind for wish in wishes), _sources_right(examiner, wishes), strict=True))
    print("\nQuestions\n")
    tabulate(_answers(model, chosen.count))


def prompts(count: int) -> Iterator[Wish]:
    """Of each GenEval task, from scenes that training never saw."""
    for task in TASKS:
        for number in range(count):
            rng = np.random.default_rng([404, TASKS.index(task), number])
            asked: ScenePrompt | None = None
            while asked is None or asked.tag != task:
                asked = geneval_prompt(task_small(rng, task), rng)
            yield Wish(task, asked.text, asked.facts)


def edits(count: int) -> Iterator[Wish]:
    """Instructions with the picture to be changed."""
    for number in range(pool.HELD_OUT, pool.HELD_OUT + count):
        change = pool.change(number)
        source = Image.fromarray(pool.scene_pixels(change.before, pool.CHANGES, number))
        yield Wish(change.kind, change.instruction, everything(change.after), source)


def mistakes(count: int) -> Iterator[Wish]:
    """Prompts with a picture that went wrong in one respect."""
    for number in range(pool.HELD_OUT, pool.HELD_OUT + 4 * count):
        change = pool.change(number)
        rng = np.random.default_rng([405, number])
        asked = geneval_prompt(change.after, rng)
        if asked is not None:
            source = Image.fromarray(pool.scene_pixels(change.before, pool.CHANGES, number))
            yield Wish(change.kind, REFLECT.format(prompt=asked.text), asked.facts, source)


def everything(small: SmallScene) -> dict[str, Any]:
    """Facts that hold for a picture of these things, in these numbers and colours, and no other."""
    groups: dict[str, list[str | None]] = defaultdict(list)
    for thing in small.objects:
        groups[thing.category].append(thing.colour)
    include = []
    for category, colours in groups.items():
        clause: dict[str, Any] = {"class": category, "count": len(colours)}
        if len(set(colours)) == 1 and colours[0] is not None:
            clause["color"] = colours[0]
        include.append(clause)
    exclude = [{"class": name, "count": len(colours) + 1} for name, colours in groups.items()]
    return {"include": include, "exclude": exclude}


def _draw(
    model: UnifiedModel, examiner: Examiner, wishes: Sequence[Wish], *, think: bool
) -> list[tuple[str, bool]]:
    """Each wish's kind, and whether what was drawn for it is right."""
    found: list[tuple[str, bool]] = []
    for start in range(0, len(wishes), _BATCH):
        part = wishes[start : start + _BATCH]
        tasks = [
            GenerationTask(prompt=wish.prompt, seed=start + index, source=wish.source)
            for index, wish in enumerate(part)
        ]
        drawn = model.generate(tasks, think=think)
        pictures = [one.image for one in drawn if isinstance(one, GenerationResult)]
        assert len(pictures) == len(part), "every small picture can be drawn"
        right = examiner.right(pictures, [wish.facts for wish in part])
        found += zip((wish.kind for wish in part), right, strict=True)
    return found


def _sources_right(examiner: Examiner, wishes: Sequence[Wish]) -> list[bool]:
    sources = [wish.source for wish in wishes if wish.source is not None]
    return examiner.right(sources, [wish.facts for wish in wishes])


def _answers(model: UnifiedModel, count: int) -> Iterator[tuple[str, bool]]:
    """Kinds of questions about scenes never seen, and whether the answer is the truth."""
    for start in range(pool.HELD_OUT, pool.HELD_OUT + count, _BATCH):
        asked, tasks = [], []
        for number in range(start, min(start + _BATCH, pool.HELD_OUT + count)):
            rng = np.random.default_rng([406, number])
            small = pool.scene(number)
            picture = Image.fromarray(pool.scene_pixels(small, pool.SCENES, number))
            for make in (yes_no, yes_no, free_text_question):
                asked.append(make(small, rng))
                tasks.append(AnswerTask(text=asked[-1].text, images=(picture,)))
        for question, answer in zip(asked, model.answer(tasks), strict=True):
            group = "yes/no" if question.answer in ("yes", "no") else "open"
            yield f"{group}: {question.kind}", answer.text.strip() == question.answer


def tabulate(found: Any) -> None:
    """Right, asked and share of every kind and of all."""
    asked: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for kind, is_right in found:
        names = (kind, kind.split(":")[0] + ": all" if ":" in kind else "all")
        for name in names:
            asked[name] += 1
            right[name] += is_right
    print("| kind | right | of | share |\n| --- | ---: | ---: | ---: |")
    for kind in sorted(asked):
        print(f"| {kind} | {right[kind]} | {asked[kind]} | {right[kind] / asked[kind]:.3f} |")


if __name__ == "__main__":
    main()
