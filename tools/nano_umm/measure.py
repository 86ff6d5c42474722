"""Measures a nano model on held-out scenes; prints the tables of its card as markdown.

    python -m tools.nano_umm.measure FOLDER --count 300

Images are judged by the nano detector under GenEval's rules, answers by the scenes' truth.
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


class GenerationCase(NamedTuple):
    """A request to generate or edit, and the facts that its image must satisfy."""

    kind: str
    prompt: str
    facts: Mapping[str, Any]
    source: Image.Image | None = None


class ImageScorer:
    """GenEval's rules on the detections of the nano detector."""

    def __init__(self) -> None:
        components: tuple[Detector, ColourReader] = open_nano_detector({}, device="cpu")
        self._detector, self._colours = components

    def correct(
        self, images: Sequence[Image.Image], facts: Sequence[Mapping[str, Any]]
    ) -> list[bool]:
        """Whether each image satisfies its facts."""
        verdicts: list[bool] = []
        for image, detected, image_facts in zip(
            images, self._detector.detect(images), facts, strict=True
        ):
            selected = select(detected, tag="", thresholds=self._detector.thresholds)
            queried = colour_questions(image_facts, selected)
            queries = [ColourQuery(image=image, found=one) for one in queried]
            named = dict(zip(queried, self._colours.read(queries) if queries else [], strict=True))
            verdicts.append(decide(image_facts, selected, named.__getitem__).correct)
        return verdicts


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--count", type=int, default=300, help="scenes of each kind")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    checkpoint: Any = open_checkpoint(arguments.folder)
    model: UnifiedModel = checkpoint.model()
    scorer = ImageScorer()
    for think in (False, True):
        print(f"\nGeneration, thinking {'on' if think else 'off'}\n")
        tabulate(
            generate_and_score(model, scorer, list(prompt_cases(arguments.count)), think=think)
        )
    print("\nEditing\n")
    tabulate(generate_and_score(model, scorer, list(edit_cases(arguments.count)), think=False))
    print("\nReflection on an image with one mistake (after / before)\n")
    cases = list(mistake_cases(arguments.count))
    tabulate(generate_and_score(model, scorer, cases, think=True))
    tabulate(zip((case.kind for case in cases), _sources_correct(scorer, cases), strict=True))
    print("\nQuestions\n")
    tabulate(answer_and_check(model, arguments.count))


def prompt_cases(count: int) -> Iterator[GenerationCase]:
    """Of each GenEval task, from held-out scenes."""
    for task in TASKS:
        for number in range(count):
            rng = np.random.default_rng([404, TASKS.index(task), number])
            prompt: ScenePrompt | None = None
            while prompt is None or prompt.tag != task:
                prompt = geneval_prompt(task_small(rng, task), rng)
            yield GenerationCase(task, prompt.text, prompt.facts)


def edit_cases(count: int) -> Iterator[GenerationCase]:
    """Instructions with the image to be changed."""
    for number in range(pool.HELD_OUT, pool.HELD_OUT + count):
        change = pool.change(number)
        source = Image.fromarray(pool.scene_pixels(change.before, pool.CHANGES, number))
        yield GenerationCase(change.kind, change.instruction, everything(change.after), source)


def mistake_cases(count: int) -> Iterator[GenerationCase]:
    """Prompts with an image that has one mistake."""
    for number in range(pool.HELD_OUT, pool.HELD_OUT + 4 * count):
        change = pool.change(number)
        rng = np.random.default_rng([405, number])
        prompt = geneval_prompt(change.after, rng)
        if prompt is not None:
            source = Image.fromarray(pool.scene_pixels(change.before, pool.CHANGES, number))
            yield GenerationCase(
                change.kind, REFLECT.format(prompt=prompt.text), prompt.facts, source
            )


def everything(small: SmallScene) -> dict[str, Any]:
    """Facts that hold for an image of exactly these objects, numbers and colours."""
    groups: dict[str, list[str | None]] = defaultdict(list)
    for item in small.objects:
        groups[item.category].append(item.colour)
    include = []
    for category, colours in groups.items():
        clause: dict[str, Any] = {"class": category, "count": len(colours)}
        if len(set(colours)) == 1 and colours[0] is not None:
            clause["color"] = colours[0]
        include.append(clause)
    exclude = [{"class": name, "count": len(colours) + 1} for name, colours in groups.items()]
    return {"include": include, "exclude": exclude}


def generate_and_score(
    model: UnifiedModel, scorer: ImageScorer, cases: Sequence[GenerationCase], *, think: bool
) -> list[tuple[str, bool]]:
    """Each case's kind, and whether its image is correct."""
    results: list[tuple[str, bool]] = []
    for start in range(0, len(cases), _BATCH):
        part = cases[start : start + _BATCH]
        tasks = [
            GenerationTask(prompt=case.prompt, seed=start + index, source=case.source)
            for index, case in enumerate(part)
        ]
        generated = model.generate(tasks, think=think)
        images = [one.image for one in generated if isinstance(one, GenerationResult)]
        assert len(images) == len(part), "every small image can be generated"
        correct = scorer.correct(images, [case.facts for case in part])
        results += zip((case.kind for case in part), correct, strict=True)
    return results


def _sources_correct(scorer: ImageScorer, cases: Sequence[GenerationCase]) -> list[bool]:
    sources = [case.source for case in cases if case.source is not None]
    return scorer.correct(sources, [case.facts for case in cases])


def answer_and_check(model: UnifiedModel, count: int) -> Iterator[tuple[str, bool]]:
    """Kinds of questions about scenes never seen, and whether the answer is correct."""
    for start in range(pool.HELD_OUT, pool.HELD_OUT + count, _BATCH):
        questions, tasks = [], []
        for number in range(start, min(start + _BATCH, pool.HELD_OUT + count)):
            rng = np.random.default_rng([406, number])
            small = pool.scene(number)
            image = Image.fromarray(pool.scene_pixels(small, pool.SCENES, number))
            for make in (yes_no, yes_no, free_text_question):
                questions.append(make(small, rng))
                tasks.append(AnswerTask(text=questions[-1].text, images=(image,)))
        for question, answer in zip(questions, model.answer(tasks), strict=True):
            group = "yes/no" if question.answer in ("yes", "no") else "open"
            yield f"{group}: {question.kind}", answer.text.strip() == question.answer


def tabulate(results: Any) -> None:
    """Prints correct answers, total and share of each kind and of all."""
    counts: Counter[str] = Counter()
    correct: Counter[str] = Counter()
    for kind, is_correct in results:
        names = (kind, kind.split(":")[0] + ": all" if ":" in kind else "all")
        for name in names:
            counts[name] += 1
            correct[name] += is_correct
    print("| kind | right | of | share |\n| --- | ---: | ---: | ---: |")
    for kind in sorted(counts):
        print(f"| {kind} | {correct[kind]} | {counts[kind]} | {correct[kind] / counts[kind]:.3f} |")


if __name__ == "__main__":
    main()
