"""Refinement while drawing, on a tiny random BAGEL: what is kept, what is thrown away, its name."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from alphabench.core.errors import AlphaBenchError
from alphabench.judges.scripted import ScriptedJudge
from alphabench.judges.yesno import YesNoText, yes_no_question
from alphabench.models.unified_model import AnswerTask, TextAnswer
from alphabench.questions import ImagePart, Judge
from alphabench.runs.factories import open_refined
from alphabench.runs.plan import checkpoint_factory, plan_run
from alphabench.runs.refinement import (
    CheckpointJudge,
    Refinement,
    benchmark_evaluator_factory,
    judge_evaluator_factory,
    judge_title,
    read_refinement,
    refined_checkpoint,
)
from alphabench.runs.store import sha256_of
from alphabench.types import NOTES, GeneratedImage, ImageRequest, NotGenerated, Sample, Verdict
from tests.support.tiny_bagel import save_bagel

OWN = {
    "timesteps": 3, "width": 32, "height": 32, "latent_longest": 32, "latent_shortest": 32,
    "patch_longest": 28, "patch_shortest": 28, "think_prompt": "plan", "max_think_tokens": 4,
    "max_answer_tokens": 4, "reflect_prompt": "for {prompt} mend",
}  # fmt: skip


@dataclass
class Scores:
    """An examiner that gives the scores it was told, in order."""

    values: list[float | None]
    seen: list[str] = field(default_factory=list)
    batch_size: int = 8

    @property
    def identity(self) -> Mapping[str, str]:
        return {"kind": "told"}

    def self_test(self) -> None:
        self.seen.append("self-test")

    def evaluate(self, images: Sequence[GeneratedImage]) -> Iterator[Verdict]:
        for image in images:
            self.seen.append(image.id)
            value = self.values.pop(0)
            status: Any = "scored" if value is not None else "failed"
            yield Verdict(image_id=image.id, question_id="q", value=value, status=status)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_bagel(tmp_path_factory.mktemp("refining") / "tiny")
    (folder / "alphabench.json").write_text(json.dumps(OWN))
    return folder


REQUESTS = [
    ImageRequest(sample=Sample(id=name, prompt=f"a {name}", group="g"), index=0, seed=number)
    for number, name in enumerate(["cat", "dog"])
]


def drawn(base: Path, mode: str, scores: list[float | None] | None = None) -> list[Image.Image]:
    how = read_refinement(mode)
    examiner = None
    if scores is not None:
        told = Scores(scores)
        examiner = benchmark_evaluator_factory(lambda *, device: told)
    generator = refined_checkpoint(checkpoint_factory(str(base)), how, examiner).open(device="cpu")
    made = generator.generate(REQUESTS)
    assert not any(isinstance(one, NotGenerated) for one in made)
    return list(made)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def plain(base: Path) -> list[Image.Image]:
    return list(checkpoint_factory(str(base)).open(device="cpu").generate(REQUESTS))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def once(base: Path) -> list[Image.Image]:
    return drawn(base, "always")


def same(one: Image.Image, other: Image.Image) -> bool:
    return np.array_equal(np.asarray(one), np.asarray(other))


def test_always_refines_every_image_and_says_what_was_thought(
    plain: list[Image.Image], once: list[Image.Image]
) -> None:
    for before, after in zip(plain, once, strict=True):
        assert not same(before, after)
        (entry,) = after.info[NOTES]["refinement"]
        assert entry["kept"]
        assert isinstance(entry["thought"], str)


def test_a_second_round_goes_on_from_the_first(base: Path, once: list[Image.Image]) -> None:
    twice = drawn(base, "always:2")
    assert all(len(one.info[NOTES]["refinement"]) == 2 for one in twice)
    assert not any(same(one, other) for one, other in zip(once, twice, strict=True))


def test_self_leaves_what_is_good_and_keeps_the_better_of_both(
    base: Path, plain: list[Image.Image], once: list[Image.Image]
) -> None:
    # The first is good enough; the second is not, and its refinement is better.
    found = drawn(base, "self", [0.95, 0.5, 0.6])
    assert same(found[0], plain[0])
    assert same(found[1], once[1])
    # Neither is good; one refinement is worse, the other could not be scored.
    found = drawn(base, "self", [0.4, 0.4, 0.3, None])
    assert same(found[0], plain[0])
    assert same(found[1], plain[1])
    assert found[0].info[NOTES]["refinement"][0]["kept"] is False


def test_oracle_refines_what_is_marked_wrong_whatever_comes_of_it(
    base: Path, plain: list[Image.Image], once: list[Image.Image]
) -> None:
    found = drawn(base, "oracle", [1.0, 0.0, 0.0])
    assert same(found[0], plain[0])
    assert same(found[1], once[1])
    unscored = drawn(base, "oracle", [None, None])
    assert all(same(one, other) for one, other in zip(unscored, plain, strict=True))


def test_a_image_does_not_depend_on_its_batch(base: Path, once: list[Image.Image]) -> None:
    generator = refined_checkpoint(
        checkpoint_factory(str(base)), read_refinement("always"), None
    ).open(device="cpu")
    for request, together in zip(REQUESTS, once, strict=True):
        (alone,) = generator.generate([request])
        assert not isinstance(alone, NotGenerated)
        gap = np.abs(np.asarray(alone, dtype=int) - np.asarray(together, dtype=int))
        assert gap.max() <= 1


def test_the_oracle_is_named_first_in_every_table_and_in_the_identity(base: Path) -> None:
    from alphabench.benchmarks import open_benchmark

    examiner = benchmark_evaluator_factory(lambda *, device: Scores([]))
    chosen = refined_checkpoint(checkpoint_factory(str(base)), Refinement(mode="oracle"), examiner)
    assert chosen.name.startswith("ORACLE-refined (upper bound), 1 round: ")
    plan = plan_run(open_benchmark("geneval:mini"), chosen, limit=6)
    assert plan.manifest.checkpoint.startswith("ORACLE")
    assert plan.root.name.startswith("oracle-refined-upper-bound")
    pixels = plan.manifest.pixels
    assert "upper bound" in pixels["checkpoint.refine.label"]
    assert pixels["checkpoint.refine"] == "oracle:1"
    assert pixels["checkpoint.refine.examiner.kind"] == "told"


def test_a_refinement_that_a_judge_decides_is_named_after_the_judge(base: Path) -> None:
    named = {}
    for judge in (None, ScriptedJudge("yes", name="strict-judge")):
        chosen = open_refined(
            checkpoint_factory(str(base)),
            "self:2",
            judge=judge,
            open_evaluator=lambda *, device: Scores([]),
        )
        named[judge is not None] = chosen.name
    assert named[False].startswith("refined by its own lights, 2 rounds: ")
    assert named[True].startswith("refined by the judge strict-judge, 2 rounds: ")


def test_a_judge_is_called_by_its_model_or_its_kind() -> None:
    @dataclass
    class Named:
        identity: Mapping[str, str]

    titles = [
        judge_title(cast(Judge, Named(identity)))
        for identity in (
            {"kind": "openai", "model": "gpt-4o"},
            {"kind": "nano", "model": "sha256:5257"},
            {"kind": "vllm", "model": "/models/qwen"},
            {},
        )
    ]
    assert titles == ["gpt-4o", "nano", "qwen", "without a name"]


def test_refined_and_plain_runs_never_share_a_folder(base: Path) -> None:
    found = [checkpoint_factory(str(base)).open(device="cpu").identity]
    found += [
        refined_checkpoint(checkpoint_factory(str(base)), read_refinement(mode), None)
        .open(device="cpu")
        .identity
        for mode in ("always", "always:2")
    ]
    assert len({json.dumps(dict(one), sort_keys=True) for one in found}) == 3


def test_the_model_can_judge_its_own_images(base: Path) -> None:
    from alphagrpo.dvreward.any_benchmark import open_for_any_benchmark

    examiner = judge_evaluator_factory(None, open_for_any_benchmark)
    generator = refined_checkpoint(
        checkpoint_factory(str(base)), read_refinement("self"), examiner
    ).open(device="cpu")
    assert generator.identity["refine.examiner.judge.kind"] == "own"
    assert generator.identity["refine.examiner.question.contract"]
    made = generator.generate(REQUESTS[:1])
    # A model that has learnt nothing says neither yes nor no: nothing can be decided.
    assert isinstance(made[0], Image.Image)


def test_a_judge_in_its_place_decides(base: Path, plain: list[Image.Image]) -> None:
    from alphagrpo.dvreward.any_benchmark import open_for_any_benchmark

    for answer, refines in ((1.0, False), (0.2, True)):
        judge = ScriptedJudge(answer)
        examiner = judge_evaluator_factory(judge, open_for_any_benchmark)
        open_it = refined_checkpoint(
            checkpoint_factory(str(base)), read_refinement("self"), examiner
        ).open
        (made,) = open_it(device="cpu").generate(REQUESTS[:1])
        assert isinstance(made, Image.Image)
        assert len(judge.asked) == (2 if refines else 1)
        # Equal scores: the first picture stays. It was drawn in another batch.
        gap = np.abs(np.asarray(made, dtype=int) - np.asarray(plain[0], dtype=int))
        assert gap.max() <= 1


def test_its_own_answers_are_read_as_any_judge_s(tmp_path: Path) -> None:
    class Says:
        def answer(self, tasks: Sequence[AnswerTask]) -> list[TextAnswer]:
            return [TextAnswer(text="Yes." if "dog" in task.text else "perhaps") for task in tasks]

    path = tmp_path / "p.png"
    Image.new("RGB", (8, 8)).save(path)
    picture = ImagePart(path=path, sha256=sha256_of(path))
    answer_format = YesNoText(template="{question} Yes or no?", system="look")
    questions = [
        yes_no_question(
            text, (picture,), image_id="i", question_id=text, answer_format=answer_format
        )
        for text in ("a dog?", "a cat?")
    ]
    answers = list(CheckpointJudge(Says()).ask(questions))  # type: ignore[arg-type]
    assert [answer.status for answer in answers] == ["scored", "unparsed"]
    assert answers[0].values == (1.0,)


@pytest.mark.parametrize("text", ["alwys", "self:0", "self:x", "oracle:"])
def test_a_mistake_in_refine_is_named(text: str) -> None:
    with pytest.raises(AlphaBenchError):
        read_refinement(text)


def test_a_checkpoint_that_cannot_look_is_refused() -> None:
    with pytest.raises(AlphaBenchError, match="cannot refine"):
        refined_checkpoint(checkpoint_factory("scene:"), read_refinement("always"), None).open(
            device="cpu"
        )
