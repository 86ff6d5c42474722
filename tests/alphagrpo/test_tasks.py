"""What each task asks of a policy, and how refinements are rewarded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from alphabench.core.errors import AlphaBenchError
from alphagrpo.refinement_task import RefinementSpec, RefinementTask
from alphagrpo.tasks import (
    EditTask,
    ImageSampling,
    MixedTask,
    SamplingSpec,
    TextToImageTask,
    Window,
)
from alphatrainers.protocols import StepInfo, Task
from alphatrainers.trajectory import (
    GenerateImage,
    GenerateText,
    InputImage,
    InputText,
    Program,
    TrainingPrompt,
)
from tests.support.made_recipes import FakeCollector, drawing

STEP_INFO = StepInfo(step=3, seed=7, group_size=4)
PROMPTS = [TrainingPrompt(id=name, text=f"a {name}") for name in ("cat", "dog")]
WRITE = GenerateText(max_tokens=5)


def sampling(*, think: bool = True, window: Window | None = None) -> SamplingSpec:
    return SamplingSpec(
        image=ImageSampling(spec=drawing(), window=window or Window(kind="static", size=1)),
        thought=WRITE if think else None,
        think_prompt="plan",
    )


def refine(**changes: Any) -> RefinementTask:
    how: dict[str, Any] = {
        "initial_images": 3, "choose": "worst", "rectify": "init", "train_initial": False,
        "reflect_prompt": "mend {prompt}!",
    }  # fmt: skip
    image_weights = changes.pop("image_weights", {"r": 1.0})
    return RefinementTask(
        initial=sampling(think=False),
        sampling=sampling(),
        refinement=RefinementSpec(**{**how, **changes}),
        resize=lambda picture: picture,
        image_weights=image_weights,
    )


def constant(program: Program) -> Mapping[str, float | None]:
    del program
    return {"r": 0.5}


def test_thinking_comes_between_prompt_and_image() -> None:
    collector = FakeCollector(constant)
    scored = TextToImageTask(sampling=sampling()).collect(PROMPTS, collector, STEP_INFO)
    assert len(scored) == 8
    system, prompt, write, draw = collector.programs[0].steps
    assert system == InputText(text="plan", role="system")
    assert prompt == InputText(text="a cat")
    assert write == WRITE
    assert isinstance(draw, GenerateImage)
    assert draw.window == range(1)


def test_without_thinking_the_prompt_stands_alone() -> None:
    collector = FakeCollector(constant)
    TextToImageTask(sampling=sampling(think=False)).collect(PROMPTS, collector, STEP_INFO)
    assert [type(step) for step in collector.programs[0].steps] == [InputText, GenerateImage]


def test_groups_are_complete_and_every_member_has_chances_of_its_own() -> None:
    collector = FakeCollector(constant)
    task = TextToImageTask(sampling=sampling())
    task.collect(PROMPTS, collector, STEP_INFO)
    task.collect(PROMPTS, collector, replace(STEP_INFO, step=4))
    assert set(Counter(one.group for one in collector.programs).values()) == {4}
    assert (
        len({one.id for one in collector.programs})
        == len({one.seed for one in collector.programs})
        == 16
    )
    again = FakeCollector(constant)
    task.collect(PROMPTS, again, STEP_INFO)
    assert [one.seed for one in again.programs] == [one.seed for one in collector.programs[:8]]


@given(st.integers(0, 200))
def test_all_trajectories_of_a_step_train_the_same_window(step: int) -> None:
    window = Window(kind="random", size=1, low=0, high=2)
    collector = FakeCollector(constant)
    TextToImageTask(sampling=sampling(window=window)).collect(
        PROMPTS, collector, replace(STEP_INFO, step=step)
    )
    windows = {one.steps[-1].window for one in collector.programs}  # type: ignore[union-attr]
    assert len(windows) == 1
    assert windows <= {range(1), range(1, 2)}


def test_an_edit_shows_its_image_first_and_keeps_its_size(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    Image.new("RGB", (16, 24), "red").save(path)
    prompt = TrainingPrompt(id="e", text="make it blue", facts={"source_image": str(path)})
    collector = FakeCollector(constant)
    EditTask(sampling=sampling(), resize=lambda one: one).collect([prompt], collector, STEP_INFO)
    _, shown, words, _, draw = collector.programs[0].steps
    assert isinstance(shown, InputImage)
    assert words == InputText(text="make it blue")
    assert isinstance(draw, GenerateImage)
    assert (draw.width, draw.height) == (16, 24)
    with pytest.raises(AlphaBenchError, match="source_image"):
        EditTask(sampling=sampling(), resize=lambda one: one).collect(PROMPTS, collector, STEP_INFO)


def rewarded(values: Mapping[str, list[float | None]]) -> Any:
    """Scores by stage, in the order of generating; the same for each prompt."""

    def score(program: Program) -> Mapping[str, float | None]:
        stage, member = program.group.rpartition("/")[2], int(program.id.rpartition("/")[2])
        return {"r": values[stage][member]}

    return score


def values_of(task: RefinementTask, collector: FakeCollector) -> list[float | None]:
    scored = task.collect(PROMPTS[:1], collector, STEP_INFO)
    return [one.scores["r"].value for one in scored]


FIRST: list[float | None] = [0.5, 0.2, 0.8]


def test_the_group_refines_the_worst_initial_image() -> None:
    collector = FakeCollector(rewarded({"initial": FIRST, "refine": [0.1, 0.3, 0.2, 0.9]}))
    values = values_of(refine(), collector)
    initial, refinements = collector.programs[:3], collector.programs[3:]
    assert all(not one.steps[-1].trained for one in initial)  # type: ignore[union-attr]
    assert all(not one.steps[-1].window for one in initial)  # type: ignore[union-attr]
    shown = [step for one in refinements for step in one.steps if isinstance(step, InputImage)]
    assert {one.image.getpixel((0, 0))[0] for one in shown} == {initial[1].seed % 251}  # type: ignore[index]
    assert refinements[0].steps[2] == InputText(text="mend a cat!")
    assert [type(step) for step in refinements[0].steps] == [
        InputText, InputImage, InputText, GenerateText, GenerateImage
    ]  # fmt: skip
    # No better than 0.2 earns 0.2.
    assert values == [0.2, 0.3, 0.2, 0.9]


def test_the_other_rectifications() -> None:
    stages: Mapping[str, list[float | None]] = {
        "initial": FIRST, "refine": [0.1, 0.3, 0.15, 0.9]
    }  # fmt: skip
    assert values_of(refine(rectify="none"), FakeCollector(rewarded(stages))) == stages["refine"]
    found = values_of(refine(rectify="group_min"), FakeCollector(rewarded(stages)))
    assert found == [0.1, 0.3, 0.1, 0.9]


def test_what_was_not_scored_stays_unscored_and_says_why() -> None:
    stages: Mapping[str, list[float | None]] = {"initial": FIRST, "refine": [None, 0.3, 0.1, 0.9]}
    scored = refine().collect(PROMPTS[:1], FakeCollector(rewarded(stages)), STEP_INFO)
    assert scored[0].scores["r"].value is None
    assert scored[0].scores["r"].reason == "away"
    assert scored[2].scores["r"].parts == {"unrectified": 0.1, "initial": 0.2}


def test_unscored_initial_images_are_not_chosen_and_without_any_there_is_no_group() -> None:
    stages: Mapping[str, list[float | None]] = {
        "initial": [None, 0.4, None], "refine": [0.5, 0.5, 0.5, 0.5]
    }  # fmt: skip
    collector = FakeCollector(rewarded(stages))
    assert values_of(refine(), collector) == [0.5] * 4
    shown = [s for one in collector.programs[3:] for s in one.steps if isinstance(s, InputImage)]
    assert shown[0].image.getpixel((0, 0))[0] == collector.programs[1].seed % 251  # type: ignore[index]
    gone = FakeCollector(rewarded({"initial": [None] * 3, "refine": [0.5] * 4}))
    assert values_of(refine(), gone) == []


def test_a_sampled_choice_favours_the_worse_and_follows_from_the_step() -> None:
    stages: Mapping[str, list[float | None]] = {"initial": [0.0, 1.0, 1.0], "refine": [0.5] * 4}
    chosen: Counter[int] = Counter()
    for step in range(300):
        collector = FakeCollector(rewarded(stages))
        refine(choose="sampled").collect(PROMPTS[:1], collector, replace(STEP_INFO, step=step))
        shown = next(s for s in collector.programs[3].steps if isinstance(s, InputImage))
        grey = shown.image.getpixel((0, 0))
        chosen[[one.seed % 251 for one in collector.programs[:3]].index(grey[0])] += 1  # type: ignore[index]
    # softmax of 1, 0, 0 is 0.58, 0.21, 0.21.
    assert 140 <= chosen[0] <= 205
    assert min(chosen[1], chosen[2]) > 30


def test_initial_images_are_trained_as_groups_of_their_own_if_asked() -> None:
    collector = FakeCollector(rewarded({"initial": FIRST, "refine": [0.5] * 4}))
    scored = refine(train_initial=True).collect(PROMPTS[:1], collector, STEP_INFO)
    assert len(scored) == 7
    assert all(one.steps[-1].trained for one in collector.programs[:3])  # type: ignore[union-attr]
    assert len({one.trajectory.program.group for one in scored}) == 2


def test_text_rewards_are_not_rectified() -> None:
    def score(program: Program) -> Mapping[str, float | None]:
        refined = "/refine" in program.group
        return {"r": 0.1 if refined else 0.5, "tags": 1.0 if refined else 0.0}

    scored = refine().collect(PROMPTS[:1], FakeCollector(score), STEP_INFO)
    assert {one.scores["r"].value for one in scored} == {0.5}
    assert {one.scores["tags"].value for one in scored} == {1.0}


@pytest.mark.parametrize(("rectify", "expected"), [("init", (0.2, 0.9)), ("group_min", (0.1, 0.2))])
def test_one_reward_that_rose_is_no_improvement_where_all_together_fell(
    rectify: str, expected: tuple[float, float]
) -> None:
    refined = [(0.5, 0.5), (0.9, 0.3), (0.1, 0.2), (0.8, 0.8)]

    def score(program: Program) -> Mapping[str, float | None]:
        if "/initial" in program.group:
            return {"meaning": 0.2, "quality": 0.9, "tags": 0.0}
        meaning, quality = refined[int(program.id.rpartition("/")[2])]
        return {"meaning": meaning, "quality": quality, "tags": 1.0}

    task = refine(image_weights={"meaning": 1.0, "quality": 2.0}, rectify=rectify)
    scored = task.collect(PROMPTS[:1], FakeCollector(score), STEP_INFO)
    found = [(one.scores["meaning"].value, one.scores["quality"].value) for one in scored]
    # Only the last one is better than 0.2 + 2 * 0.9; the third is the worst.
    assert found == [expected, expected, expected, (0.8, 0.8)]
    assert {one.scores["tags"].value for one in scored} == {1.0}
    assert scored[1].scores["meaning"].parts == {"unrectified": 0.9, "initial": 0.2}


def test_where_one_judge_is_silent_no_image_is_rewarded_by_the_other() -> None:
    def score(program: Program) -> Mapping[str, float | None]:
        silent = "/refine" in program.group and program.id.endswith("/0")
        return {"meaning": 0.5, "quality": None if silent else 0.5}

    task = refine(image_weights={"meaning": 1.0, "quality": 1.0})
    first, *others = task.collect(PROMPTS[:1], FakeCollector(score), STEP_INFO)
    assert (first.scores["meaning"].value, first.scores["quality"].value) == (None, None)
    assert "'quality': away" in first.scores["meaning"].reason
    assert all(one.scores["meaning"].value == 0.5 for one in others)


def test_a_mixed_training_draws_one_task_a_step_by_weight() -> None:
    tasks: dict[str, Task] = {
        "t2i": TextToImageTask(sampling=sampling(think=False)),
        "rt2i": TextToImageTask(sampling=sampling()),
    }
    mixed = MixedTask(tasks=tasks, weights={"t2i": 3.0, "rt2i": 1.0})
    chosen = Counter(mixed.chosen(replace(STEP_INFO, step=step)) for step in range(400))
    assert 260 <= chosen["t2i"] <= 340
    collector = FakeCollector(constant)
    mixed.collect(PROMPTS, collector, STEP_INFO)
    assert len({len(one.steps) for one in collector.programs}) == 1


def test_a_training_mixed_by_group_has_both_tasks_in_a_step_and_one_in_each_group() -> None:
    tasks: dict[str, Task] = {
        "t2i": TextToImageTask(sampling=sampling(think=False)),
        "rt2i": TextToImageTask(sampling=sampling()),
    }
    mixed = MixedTask(tasks=tasks, weights={"t2i": 3.0, "rt2i": 1.0}, by="group")
    prompts = [TrainingPrompt(id=str(n), text=f"{n} dogs") for n in range(40)]
    made = mixed.collect(prompts, FakeCollector(constant), STEP_INFO)
    kinds: dict[str, set[str]] = {}
    for one in made:
        program = one.trajectory.program
        kinds.setdefault(program.group, set()).add(program.task)
        assert program.task == ("t2i" if len(program.steps) == 2 else "rt2i")
    assert [len(names) for names in kinds.values()] == [1] * 40
    assert 22 <= sum(names == {"t2i"} for names in kinds.values()) <= 38
    halves = [
        mixed.collect(part, FakeCollector(constant), STEP_INFO)
        for part in (prompts[:20], prompts[20:])
    ]
    together = {one.trajectory.program.id: one.trajectory.program.task for one in made}
    apart = {o.trajectory.program.id: o.trajectory.program.task for half in halves for o in half}
    assert apart == together, "another number of processes chooses the same"
