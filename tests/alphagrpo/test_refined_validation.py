"""Validations of refinement: one of them refines the same images at all of its points."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from alphabench.benchmarks import open_benchmark
from alphabench.core.errors import AlphaBenchError
from alphabench.images import open_rgb
from alphabench.runs.store import RunFolder
from alphabench.upstream import UpstreamData
from alphagrpo.assemble import VALIDATIONS, make_validation
from alphagrpo.assembly_context import AssemblyContext
from alphagrpo.policies.factory import open_policy
from alphagrpo.policies.handle import PolicyHandle
from alphagrpo.recipe import PolicySettings, ValidationSettings, load_recipe
from alphagrpo.validation import BenchmarkValidation
from alphatrainers import strict_yaml
from tests.support.tiny_bagel import save_bagel

OWN = {
    "timesteps": 4, "width": 32, "height": 32, "latent_longest": 48, "latent_shortest": 32,
    "patch_longest": 42, "patch_shortest": 28, "think_prompt": "plan", "max_think_tokens": 6,
    "reflect_prompt": "for {prompt} mend", "suggested_evaluator": "nano", "batch_size": 4,
}  # fmt: skip
START = {"refine": "always", "refine_from": "start"}


@pytest.fixture
def opened(tmp_path: Path) -> PolicyHandle:
    folder = save_bagel(tmp_path / "tiny")
    (folder / "alphabench.json").write_text(json.dumps(OWN))
    return open_policy(PolicySettings(checkpoint=str(folder)), device="cpu")


def validation(opened: PolicyHandle, folder: Path, **keys: Any) -> BenchmarkValidation:
    reasons: list[str] = []
    context = AssemblyContext(
        folder=folder, data=UpstreamData(cache_dir=folder), device="cpu", report=reasons.append
    )
    tree = {"benchmark": "geneval:mini", "limit": 1, **keys}
    settings = strict_yaml.build_settings(ValidationSettings, tree)
    return make_validation(settings, open_benchmark(settings.benchmark), opened, context, {})


def measured(one: BenchmarkValidation, step: int) -> RunFolder:
    point = one.measure(step=step, view="train")
    assert point is not None
    assert point.folder is not None
    return RunFolder.open(point.folder)


def contents(folder: RunFolder) -> list[str]:
    """Of all its images, without the text chunks of their files."""
    return [
        hashlib.sha256(open_rgb(folder.root / one.path).tobytes()).hexdigest()
        for one in folder.images().values()
    ]


def test_every_point_refines_the_images_that_the_weights_before_training_generated(
    opened: PolicyHandle, tmp_path: Path
) -> None:
    once = validation(opened, tmp_path)
    own = validation(opened, tmp_path, refine="always")
    start = validation(opened, tmp_path, **START)
    assert start.name == "geneval:mini, refined always from the start"
    first = measured(once, 0)
    before = measured(start, 0)
    assert contents(before) == contents(measured(own, 0))
    with torch.no_grad():
        for weights in opened.policy.module.parameters():
            weights.mul_(1.01)
    assert contents(measured(once, 1)) != contents(first)
    after = measured(start, 1)
    digests = {one.manifest.pixels["checkpoint.refine.initial"] for one in (before, after)}
    assert len(digests) == 1
    assert contents(after) != contents(before)
    assert contents(after) != contents(measured(own, 1))


def test_without_those_images_it_says_what_to_do(opened: PolicyHandle, tmp_path: Path) -> None:
    start = validation(opened, tmp_path, **START)
    with pytest.raises(AlphaBenchError, match="no images of the weights before training") as error:
        start.measure(step=0, view="train")
    assert "in a new folder" in error.value.hint
    assert start.measure(step=3, view="train") is None
    assert not (tmp_path / VALIDATIONS).exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[{benchmark: 'geneval:mini', refine_from: start}]", "refine_from needs refine: always"),
        (
            "[{benchmark: 'geneval:mini', refine: always, refine_from: start}]",
            "needs a validation of geneval:mini in one pass before it",
        ),
        (
            "[{benchmark: 'geneval:mini', limit: 6},"
            " {benchmark: 'geneval:mini', refine: always, refine_from: start}]",
            "with the same limit and seed",
        ),
    ],
)
def test_a_validation_that_has_nothing_to_refine_is_refused(text: str, words: str) -> None:
    with pytest.raises(AlphaBenchError) as caught:
        load_recipe("nano-srr", [f"validation={text}"])
    assert words in caught.value.message


def test_a_recipe_may_have_all_three_curves() -> None:
    three = (
        "[{benchmark: 'geneval:mini'}, {benchmark: 'geneval:mini', refine: always},"
        " {benchmark: 'geneval:mini', refine: always, refine_from: start}]"
    )
    recipe = load_recipe("nano-srr", [f"validation={three}"])
    assert len({one.name for one in recipe.validation}) == 3
