"""Builds the components of a training from a recipe: policy, task, rewards, prompts, validations.

Everything that can be refused is refused here, before the first image is generated. Trains nothing
and knows no loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from alphabench.benchmarks import open_benchmark
from alphabench.benchmarks.mini_split import TEST_SPLIT
from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import UnreadableFileError, read_json
from alphabench.interfaces import Benchmark
from alphabench.judges import open_judge
from alphabench.types import ProtocolName, Sample
from alphabench.upstream import UpstreamData
from alphagrpo.assembly_context import AssemblyContext
from alphagrpo.dvreward.question_files import facts_of, read_question_sets
from alphagrpo.policies.factory import guidance, open_policy, open_trainable
from alphagrpo.policies.handle import PolicyHandle
from alphagrpo.prompt_checks import refuse_sourceless, refuse_unfit
from alphagrpo.prompts import leaks, load_prompts, with_questions
from alphagrpo.rank_engine import RankEngine
from alphagrpo.recipe import (
    USUAL_SHIFT,
    ImageSamplingSettings,
    PromptSettings,
    TaskSettings,
    TrainingRecipe,
    ValidationSettings,
)
from alphagrpo.refined_validation import refining_generator
from alphagrpo.refinement_task import RefinementSpec, RefinementTask
from alphagrpo.rewards.reward_kinds import (
    RewardSettings,
    SelfTestedReward,
    load_reward_kind,
    open_reward,
    with_parts,
)
from alphagrpo.tasks import (
    EditTask,
    ImageSampling,
    MixedTask,
    SamplingSpec,
    TextToImageTask,
    image_to_image_steps,
    make_program,
    source_image_of,
    text_to_image_steps,
)
from alphagrpo.validation import BenchmarkValidation, open_validation, refuse_rewarded
from alphatrainers import strict_yaml
from alphatrainers.prompt_stream import digest_of
from alphatrainers.protocols import RewardFunction, StepInfo, Task
from alphatrainers.reward_scoring import RewardUse
from alphatrainers.trainer_components import TrainerComponents, without_defaults
from alphatrainers.trajectory import Program, TrainingPrompt

_ADDED_LATER = {("draw", "tokens"): None, ("refine", "initial", "tokens"): None}
"""Keys of `task` that older folders do not know, with the value that changes nothing."""
VALIDATIONS = "validation"
"""Folder of a training that holds the run folders of its validations."""


def assemble(recipe: TrainingRecipe, context: AssemblyContext) -> TrainerComponents:
    """The components of a recipe, loaded and checked against each other.

    Raises:
        AlphaBenchError: a checkpoint, judge, benchmark or file that cannot be used.
        AlphaBenchError: components that do not fit together.
    """
    benchmarks = [_benchmark(one, context.data) for one in recipe.validation]
    held_out = [sample for benchmark in benchmarks for sample in benchmark.samples()]
    prompts = prompts_as_begun(
        training_prompts(recipe, context.data, held_out),
        partial(training_prompts, recipe, context.data, held_out, test_left_out=False),
        context,
    )
    if "edit" in recipe.task.kinds:
        refuse_sourceless(prompts)
    rewards = {name: open_reward(one, context) for name, one in recipe.rewards.items()}
    for name, reward in rewards.items():
        refuse_unfit(name, reward, prompts)
    open_trainable(recipe.policy, device=context.device)
    for reward in with_parts(rewards).values():
        if isinstance(reward, SelfTestedReward):
            reward.self_test()
    opened = open_policy(recipe.policy, device=context.device)
    task = make_task(recipe.task, opened, recipe.rewards)
    return TrainerComponents(
        policy=opened.policy,
        task=task,
        rewards={
            name: RewardUse(reward=reward, weight=one.weight, applies_to=one.credits)
            for (name, one), reward in zip(recipe.rewards.items(), rewards.values(), strict=True)
        },
        prompts=prompts,
        validations=[
            make_validation(one, benchmark, opened, context, rewards)
            for one, benchmark in zip(recipe.validation, benchmarks, strict=True)
        ],
        panel=panel(recipe, opened, prompts),
        decisive={
            "task": without_defaults(
                strict_yaml.to_plain(_with_shift(recipe.task, opened)), _ADDED_LATER
            ),
            "validation": [_decisive(one) for one in recipe.validation],
        },
    )


def _decisive(validation: ValidationSettings) -> dict[str, Any]:
    plain: dict[str, Any] = strict_yaml.to_plain(validation)
    for added_later in ("refine", "refine_from"):
        if plain[added_later] is None:
            del plain[added_later]  # older folders know no such setting
    return plain


def prompts_as_begun(
    prompts: list[TrainingPrompt],
    of_earlier_versions: Callable[[], list[TrainingPrompt]],
    context: AssemblyContext,
) -> list[TrainingPrompt]:
    """The prompts, or those that the folder's training began with before there was a test split."""
    try:
        identity = read_json(context.folder / "identity.json")
    except UnreadableFileError:
        return prompts  # a new training; whatever else is wrong with it is said later
    begun = identity.get("prompts") if isinstance(identity, dict) else None
    if begun is None or begun == digest_of(prompts):
        return prompts
    earlier = of_earlier_versions()
    if begun != digest_of(earlier):
        return prompts
    context.report(
        f"this training began before small: left out the prompts of {TEST_SPLIT}, and continues "
        "with them: its scores on that split are not those of unseen prompts"
    )
    return earlier


def training_prompts(
    recipe: TrainingRecipe,
    data: UpstreamData,
    held_out: Sequence[Sample],
    *,
    test_left_out: bool = True,
) -> list[TrainingPrompt]:
    """The prompts to train on, with DVReward's questions where a reward needs them.

    Args:
        recipe: names their source.
        data: where official data lies.
        held_out: samples of the validations.
        test_left_out: see `load_prompts`.

    Raises:
        AlphaBenchError: they cannot be read, or lack questions.
        AlphaBenchError: a file of prompts asks what a validation asks.
    """
    settings: PromptSettings = recipe.prompts
    found = load_prompts(
        settings.source,
        lambda name: open_benchmark(name, data=data),
        held_out=held_out,
        column=settings.column,
        revision=settings.revision,
        test_left_out=test_left_out,
    )[: settings.limit]
    if recipe.training.guards.leak == "refuse" and (leaked := leaks(found, held_out)):
        raise AlphaBenchError(
            f"{len(leaked)} training prompts also occur in a validation, e.g. {leaked[0].text!r}",
            hint="remove them from the training prompts, or set training.guards.leak=allow",
        )
    if not any(_needs_questions(one) for one in recipe.rewards.values()):
        return found
    written = {}
    if settings.questions is not None:
        sets = read_question_sets(settings.questions)
        written = {one.prompt: facts_of(one) for one in sets}
    return with_questions(found, written)


def _needs_questions(settings: RewardSettings) -> bool:
    needs = load_reward_kind(settings.kind).needs_questions
    return needs or any(map(_needs_questions, settings.of.values()))


def make_task(
    settings: TaskSettings, opened: PolicyHandle, rewards: Mapping[str, RewardSettings]
) -> Task:
    """The task of a recipe.

    Raises:
        AlphaBenchError: the policy cannot do it.
    """
    kinds = settings.kinds
    wants_thought = {"rt2i", "srr"} & {*kinds} or ("edit" in kinds and settings.think)
    if wants_thought and not opened.thinks:
        raise AlphaBenchError(
            f"{opened.name!r} cannot write text before it generates an image",
            hint="set task.kind=t2i",
        )
    if {"edit", "srr"} & {*kinds} and not opened.edits:
        raise AlphaBenchError(
            f"{opened.name!r} generates from text alone", hint="set task.kind=t2i"
        )
    image_weights = {name: one.weight for name, one in rewards.items() if one.credits != "text"}
    if "srr" in kinds:
        for name in image_weights:
            _refuse_text_rewards(name, rewards[name])
    if settings.kind != "mixed":
        return _task(settings.kind, settings, opened, image_weights)
    tasks = {kind: _task(kind, settings, opened, image_weights) for kind in kinds}
    return MixedTask(tasks=tasks, weights=settings.mixed, by=settings.mixed_by)


def _refuse_text_rewards(name: str, settings: RewardSettings) -> None:
    """An initial image comes without text, so that every refinement would seem better."""
    if load_reward_kind(settings.kind).judges == "text":
        raise AlphaBenchError(
            f"the reward {name!r} judges text, and an initial image has none: it "
            "cannot tell whether a refinement is better",
            hint="give it `credits: text`, outside of a sum with rewards of images",
        )
    for one in settings.of.values():
        _refuse_text_rewards(name, one)


def _task(
    kind: str, settings: TaskSettings, opened: PolicyHandle, image_weights: Mapping[str, float]
) -> Task:
    edits = kind in ("edit", "srr")
    draw = settings.draw if edits else _draw_from_text(settings)
    sampling = _sampling_spec(draw, settings, opened, think=kind != "t2i")
    if kind == "edit":
        thinking = sampling if settings.think else replace(sampling, thought=None)
        return EditTask(sampling=thinking, resize=opened.resize)
    if kind != "srr":
        return TextToImageTask(sampling=sampling)
    assert settings.refine is not None, "the settings say so"
    refinement = settings.refine
    return RefinementTask(
        initial=_sampling_spec(refinement.initial, settings, opened, think=False),
        sampling=sampling,
        refinement=RefinementSpec(
            initial_images=refinement.initial_images,
            choose=refinement.choose,
            rectify=refinement.rectify,
            train_initial=refinement.train_initial,
            reflect_prompt=opened.reflect_prompt,
        ),
        resize=opened.resize,
        image_weights=image_weights,
    )


def _draw_from_text(settings: TaskSettings) -> ImageSamplingSettings:
    """How images without a source image are sampled: mixed tasks share settings with edits."""
    draw = settings.draw
    if settings.kind != "mixed" or draw.guidance is None:
        return draw
    return replace(draw, guidance=replace(draw.guidance, image_scale=1.0))


def _sampling_spec(
    draw: ImageSamplingSettings, settings: TaskSettings, opened: PolicyHandle, *, think: bool
) -> SamplingSpec:
    if (draw.tokens is not None) != opened.samples_tokens:
        how = "samples images token by token" if opened.samples_tokens else "denoises its images"
        keys = "tokens, without points" if opened.samples_tokens else "points, without tokens"
        raise AlphaBenchError(f"{opened.name!r} {how}", hint=f"give task.draw the key {keys}")
    schedule = opened.schedule if draw.shift is None else None
    spec = draw.spec(guidance(draw.guidance), size=opened.size, schedule=schedule)
    return SamplingSpec(
        image=ImageSampling(spec=spec, window=draw.window, schedule=schedule),
        thought=settings.thought.spec() if think else None,
        think_prompt=opened.think_prompt,
    )


def _with_shift(task: TaskSettings, opened: PolicyHandle) -> TaskSettings:
    """With the shift in force, as folders of earlier versions state it."""
    if opened.schedule is not None:
        return task
    refine = task.refine
    if refine is not None:
        refine = replace(refine, initial=_shifted(refine.initial))
    return replace(task, draw=_shifted(task.draw), refine=refine)


def _shifted(draw: ImageSamplingSettings) -> ImageSamplingSettings:
    return replace(draw, shift=USUAL_SHIFT) if draw.shift is None else draw


def make_validation(
    settings: ValidationSettings,
    benchmark: Benchmark,
    opened: PolicyHandle,
    context: AssemblyContext,
    rewards: Mapping[str, RewardFunction],
) -> BenchmarkValidation:
    """One validation of a recipe.

    Raises:
        AlphaBenchError: its evaluator or judge cannot be used.
        AlphaBenchError: it is measured by a reward itself.
    """
    together = context.processes
    judge = None if settings.judge is None else open_judge(settings.judge, device=context.device)
    evaluation = open_validation(
        benchmark,
        opened.generator,
        evaluator=settings.evaluator,
        judge=judge,
        device=context.device,
    )
    generator = opened.generator
    if settings.refine is not None:
        generator = refining_generator(opened, settings, context.folder / VALIDATIONS)
    if not settings.same_as_reward:
        refuse_rewarded(settings.name, evaluation.identity, with_parts(rewards))
    return BenchmarkValidation(
        name=settings.name,
        benchmark=benchmark,
        evaluation=evaluation,
        generator=generator,
        checkpoint=opened.name,
        training=context.folder.resolve().name,
        folder=context.folder / VALIDATIONS,
        limit=settings.limit,
        seed=settings.seed,
        device=context.device,
        report=context.report,
        engine=RankEngine(together, context.device) if together.size > 1 else None,
        progress=context.validation_progress(settings.name),
    )


def open_held_out(settings: ValidationSettings, data: UpstreamData) -> Sequence[Sample]:
    """All samples of a validation's benchmark.

    Raises:
        AlphaBenchError: there is no such benchmark, or its data is not at hand.
    """
    return _benchmark(settings, data).samples()


def _benchmark(settings: ValidationSettings, data: UpstreamData) -> Benchmark:
    protocol: ProtocolName = settings.protocol
    return open_benchmark(settings.benchmark, protocol=protocol, data=data)


def panel(
    recipe: TrainingRecipe, opened: PolicyHandle, prompts: Sequence[TrainingPrompt]
) -> list[Program]:
    """Programs of the images shown at each validation: always the same prompts and seeds."""
    task = recipe.task
    step_info = StepInfo(step=0, seed=recipe.training.seed, group_size=1)
    kinds = task.kinds
    edits = kinds == ["edit"]
    think = task.think if edits else kinds != ["t2i"]
    draw = task.draw if edits else _draw_from_text(task)
    sampling = _sampling_spec(draw, task, opened, think=think)
    made = []
    for prompt in prompts[: recipe.panel]:
        spec = sampling.image.spec
        steps = (
            image_to_image_steps(
                opened.resize(source_image_of(prompt)), prompt.text, sampling, spec
            )
            if edits
            else text_to_image_steps(prompt, sampling, spec)
        )
        made.append(make_program("panel", prompt, steps, step_info=step_info, member=0))
    return made
