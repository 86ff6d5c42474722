"""Each family of diffusers pipelines as a policy, held against the pipeline's own call.

The pipelines are tiny and random, built of diffusers' own classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL.Image import fromarray
from safetensors.torch import save_file
from torch import Tensor

from alphabench.checkpoints.diffusers import open_diffusers
from alphabench.core.errors import AlphaBenchError
from alphabench.models.bagel.guidance import Guidance
from alphagrpo.assemble import make_task
from alphagrpo.policies.diffusers_training import DiffusersTraining
from alphagrpo.policies.handle import PolicyHandle
from alphagrpo.policies.pipeline_lora import write_pipeline_lora
from alphagrpo.recipe import ImageSamplingSettings, TaskSettings
from alphagrpo.tasks import TextToImageTask, Window
from alphatrainers import lora_adapters
from alphatrainers.algorithms.schedules import sigmas_of_points
from alphatrainers.protocols import ReplaySpec, VelocityPredicted, VelocityQuery
from alphatrainers.sampling import generator
from alphatrainers.settings import LoraSettings
from alphatrainers.trajectory import (
    GenerateImage,
    InputImage,
    InputText,
    Program,
    SampledImage,
    TrainingPrompt,
    Trajectory,
)

Folder = Callable[[str], Path]
STEPS = 3
OPTIONS = {"steps": f"{STEPS}", "dtype": "float32"}
PROMPTS = ["a dog", "two cats", "a dog"]


@dataclass(frozen=True)
class Case:
    """A family, and how a recipe and the pipeline's call name the same guidance."""

    pipeline: str
    guidance: Guidance | None
    call: dict[str, Any] = field(default_factory=dict)
    size: tuple[int, int] = (48, 32)
    edits: bool = False
    whole: bool = True


def plain(scale: float) -> Guidance:
    """The pipeline's own guidance."""
    return Guidance(text_scale=scale, low=0.0, renorm_floor=1.0)


CASES = [
    Case("sd35", plain(4.0), {"guidance_scale": 4.0}, size=(12, 8), whole=False),
    Case("flux-dev", plain(3.5), {"guidance_scale": 3.5}, size=(12, 8)),
    Case(
        "flux-kontext",
        plain(2.5),
        {"guidance_scale": 2.5, "max_area": 64 * 32, "_auto_resize": False},
        size=(64, 32),
        edits=True,
    ),
    Case("flux-schnell", None, {"max_sequence_length": 256}, size=(12, 8)),
    Case("qwen-image", plain(4.0), {"true_cfg_scale": 4.0, "negative_prompt": " "}),
    Case(
        "qwen-image-edit",
        plain(4.0),
        {"true_cfg_scale": 4.0, "negative_prompt": " "},
        size=(64, 32),
        edits=True,
    ),
    Case(
        "qwen-image-edit-plus",
        plain(4.0),
        {"true_cfg_scale": 4.0, "negative_prompt": " "},
        size=(64, 32),
        edits=True,
        whole=False,
    ),
    Case("z-image", plain(5.0), {"guidance_scale": 4.0}, size=(24, 16)),
    Case("flux2-klein", plain(4.0), {"guidance_scale": 4.0}, size=(24, 16)),
]


@dataclass
class Opened:
    """A policy with random LoRA layers, and the pipeline that it trains."""

    case: Case
    folder: Path

    @cached_property
    def handle(self) -> PolicyHandle:
        width, height = self.case.size
        size = {"width": str(width), "height": str(height)} if self.case.edits else {}
        options = {**OPTIONS, **size}
        checkpoint = open_diffusers(str(self.folder), options=options, lora=None, device="cpu")
        return DiffusersTraining(checkpoint=checkpoint).open_policy(device="cpu")

    @cached_property
    def trained(self) -> dict[str, lora_adapters.Trainable]:
        policy = self.handle.policy
        lora = LoraSettings(rank=2, alpha=4.0)
        bound = lora_adapters.select_trainable(policy.module, policy.experts, lora=lora, seed=0)
        torch.manual_seed(1)
        for name, one in bound.items():
            if "lora_B" in name:
                one.parameter.data = 0.5 * torch.randn(one.parameter.shape)
        return bound

    @property
    def pipeline(self) -> Any:
        assert self.trained
        return self.handle.policy.pipeline  # type: ignore[attr-defined]

    def programs(self, window: range = range(0)) -> list[Program]:
        assert self.handle.schedule is not None
        spec = GenerateImage(
            width=self.case.size[0],
            height=self.case.size[1],
            sigmas=self.handle.schedule(STEPS, *self.case.size),
            window=window,
            guidance=self.case.guidance,
        )
        return [
            Program(
                id=f"{seed}",
                group="p",
                prompt=TrainingPrompt(id="p", text=text),
                steps=(*self.sources(seed), InputText(text=text), spec),
                seed=seed,
            )
            for seed, text in enumerate(PROMPTS)
        ]

    def sources(self, seed: int) -> list[InputImage]:
        """The image that is edited, as a task gives it to the policy."""
        if not self.case.edits:
            return []
        levels_YX3 = np.random.default_rng(seed // 2).integers(0, 256, (40, 80, 3), dtype=np.uint8)
        return [InputImage(image=self.handle.resize(fromarray(levels_YX3)))]

    def call(self, program: Program, pipeline: Any = None) -> Any:
        """The image of a program by a pipeline's own call, from the same noise."""
        with torch.no_grad():
            return (pipeline or self.pipeline)(
                prompt=program.prompt.text,
                generator=generator(program, len(program.steps) - 1),
                width=self.case.size[0],
                height=self.case.size[1],
                num_inference_steps=STEPS,
                **self.case.call,
                **({"image": program.steps[0].image} if self.case.edits else {}),  # type: ignore[union-attr]
            ).images[0]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(case, id=case.pipeline, marks=[pytest.mark.whole] if case.whole else [])
        for case in CASES
    ],
)
def opened(request: pytest.FixtureRequest, pipeline: Folder, small_sources: None) -> Opened:
    del small_sources
    return Opened(request.param, pipeline(request.param.pipeline))


def levels(image: Any) -> Any:
    return np.asarray(image, dtype=int)


def test_without_noise_a_rollout_is_the_image_of_the_pipelines_own_call(opened: Opened) -> None:
    assert opened.trained
    programs = opened.programs()
    for program, made in zip(programs, opened.handle.policy.rollout(programs), strict=True):
        expected = levels(opened.call(program))
        assert np.abs(levels(made.images[0].image) - expected).max() <= 1
        assert np.ptp(expected) > 20


def test_a_policy_takes_the_noise_levels_that_its_pipelines_own_call_takes(
    opened: Opened,
) -> None:
    opened.call(opened.programs()[0])
    spec = opened.programs()[0].steps[-1]
    assert isinstance(spec, GenerateImage)
    assert spec.sigmas == tuple(opened.pipeline.scheduler.sigmas.tolist())


def test_a_recipe_that_names_a_shift_keeps_it(opened: Opened) -> None:
    if opened.case.edits:
        pytest.skip("its task is another")
    width, height = opened.case.size
    window = Window(kind="none")
    draw = ImageSamplingSettings(points=STEPS + 1, width=width, height=height, window=window)
    for shift, expected in (
        (None, opened.handle.schedule(STEPS, width, height)),  # type: ignore[misc]
        (2.0, sigmas_of_points(STEPS + 1, shift=2.0)),
    ):
        settings = TaskSettings(kind="t2i", draw=replace(draw, shift=shift))
        task = make_task(settings, opened.handle, {})
        assert isinstance(task, TextToImageTask)
        spec = task.sampling.image.spec
        assert isinstance(spec, GenerateImage)
        assert spec.sigmas == expected


def replayed(opened: Opened, made: list[Trajectory]) -> list[Tensor]:
    first: SampledImage = made[0].images[0]
    queries = [
        VelocityQuery(
            segment=len(made[0].segments) - 1,
            x_BX=torch.stack([one.images[0].path_NX[stored] for one in made]),
            sigma_B=torch.full((len(made),), first.spec.sigmas[step]),
            guided=True,
            sigma=first.spec.sigmas[step],
        )
        for stored, step in enumerate(first.spec.window)
    ]
    answers = opened.handle.policy.replay(made, texts=[], queries=queries, how=ReplaySpec())
    return [one.v_BX for one in answers if isinstance(one, VelocityPredicted)]


def test_a_replay_computes_exactly_the_velocities_that_were_sampled(opened: Opened) -> None:
    assert opened.trained
    made = opened.handle.policy.rollout(opened.programs(range(2)))
    velocities = replayed(opened, made)
    assert len(velocities) == 2
    for stored, v_BX in enumerate(velocities):
        sampled = torch.stack([one.images[0].velocity_SX[stored] for one in made])
        assert torch.equal(v_BX.detach(), sampled)
        assert v_BX.requires_grad


def test_an_editor_without_a_source_image_is_refused(pipeline: Folder) -> None:
    own = Opened(Case("flux-kontext", None, size=(64, 32)), pipeline("flux-kontext"))
    with pytest.raises(AlphaBenchError, match="trained to edit"):
        own.handle.policy.rollout(own.programs())


def test_guidance_that_a_network_does_not_take_is_refused(pipeline: Folder) -> None:
    embedded = Opened(Case("flux-dev", Guidance(text_scale=3.5, low=0.4)), pipeline("flux-dev"))
    with pytest.raises(AlphaBenchError, match="at all noise levels alike"):
        embedded.handle.policy.rollout(embedded.programs())
    distilled = Opened(Case("flux-schnell", plain(3.5)), pipeline("flux-schnell"))
    with pytest.raises(AlphaBenchError, match="takes no guidance"):
        distilled.handle.policy.rollout(distilled.programs())


def save_adapter(opened: Opened, folder: Path) -> None:
    """As a training saves and exports it."""
    values = {name: one.parameter.detach() for name, one in opened.trained.items()}
    lora = LoraSettings(rank=2, alpha=4.0)
    settings: Any = lora_adapters.peft_settings(lora_adapters.target_names(values), lora)
    settings.save_pretrained(folder)
    save_file(lora_adapters.exported(values), folder / "adapter_model.safetensors")
    assert write_pipeline_lora(folder, str(opened.folder))


def test_diffusers_and_a_run_load_what_was_trained(opened: Opened, tmp_path: Path) -> None:
    save_adapter(opened, tmp_path)
    program = opened.programs()[1]
    expected = levels(opened.call(program))
    plain_checkpoint = open_diffusers(str(opened.folder), options=OPTIONS, lora=None, device="cpu")
    loaded = plain_checkpoint.pipeline()
    untrained = levels(opened.call(program, loaded))
    loaded.load_lora_weights(str(tmp_path))
    with_lora = open_diffusers(
        str(opened.folder), options=OPTIONS, lora=str(tmp_path), device="cpu"
    )
    assert np.abs(levels(opened.call(program, loaded)) - expected).max() <= 1
    assert np.abs(levels(opened.call(program, with_lora.pipeline())) - expected).max() <= 1
    assert np.abs(untrained - expected).max() > 2


def test_the_network_gets_noise_levels_that_are_not_rounded_to_its_precision(
    pipeline: Folder,
) -> None:
    options = {**OPTIONS, "dtype": "bfloat16"}
    checkpoint = open_diffusers(str(pipeline("sd35")), options=options, lora=None, device="cpu")
    handle = DiffusersTraining(checkpoint=checkpoint).open_policy(device="cpu")
    seen: list[Tensor] = []
    handle.policy.module.register_forward_pre_hook(
        lambda _module, _args, kwargs: seen.append(kwargs["timestep"]), with_kwargs=True
    )
    own = Opened(Case("sd35", None, size=(12, 8)), pipeline("sd35"))
    own.handle = handle
    programs = own.programs()
    handle.policy.rollout(programs)
    spec = programs[0].steps[-1]
    assert isinstance(spec, GenerateImage)
    expected = [1000.0 * torch.full((3,), sigma) for sigma in spec.sigmas[:-1]]
    assert all(torch.equal(*pair) for pair in zip(seen, expected, strict=True))
