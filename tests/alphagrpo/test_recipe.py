"""Recipes: every one in the package is whole, and a mistake in one is named."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from alphabench.core.errors import AlphaBenchError
from alphagrpo.recipe import load_recipe
from alphagrpo.recipe_names import recipe_names
from alphatrainers import strict_yaml

EXPECTED = {
    "nano-rt2i", "nano-srr", "nano-awm", "nano-nft", "nano-holistic", "bagel-rt2i", "bagel-srr",
    "bagel-unigrpo-style", "bagel-awm", "sd35-dvreward",
    "sd35-large-dvreward", "flux1-dvreward", "flux2-klein-dvreward", "qwen-image-dvreward",
    "z-image-dvreward", "janus-pro-dvreward", "flux1-kontext-edit",
    "qwen-image-edit-dvreward",
}  # fmt: skip


def test_the_package_holds_the_recipes_that_the_documentation_names() -> None:
    assert set(recipe_names()) >= EXPECTED


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_recipe_of_the_package_says_what_it_costs_and_what_was_measured(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.about.costs
    assert recipe.about.measured
    stored = recipe.training.image.kind in {"flow_grpo", "guard"}
    denoised = recipe.task.draw.tokens is None
    assert stored == (denoised and recipe.task.draw.window.kind != "none")
    assert recipe.validation


@pytest.mark.parametrize("name", recipe_names())
def test_groups_that_differ_by_a_served_judges_noise_are_not_trained(name: str) -> None:
    recipe = load_recipe(name)
    served = any("://" in str(reward) for reward in recipe.rewards.values())
    assert (recipe.training.advantage.noise_images > 0) == served
    assert served == (recipe.policy.checkpoint != "nano")


def test_recipes_that_results_were_published_with_can_be_trained_again() -> None:
    published = sorted((Path(__file__).parents[2] / "docs" / "results").rglob("recipe.yaml"))
    assert published
    for path in published:
        load_recipe(str(path))


def test_the_control_differs_from_its_original_in_its_reward_alone() -> None:
    control, original = load_recipe("nano-holistic"), load_recipe("nano-rt2i")
    assert control.training == original.training
    assert control.task == original.task
    assert control.prompts == original.prompts
    assert set(control.rewards) ^ set(original.rewards) == {"dvreward", "holistic"}


def test_assignments_change_a_recipe() -> None:
    recipe = load_recipe("nano-rt2i", ["training.steps=3", "task.draw.window.size=2"])
    assert (recipe.training.steps, recipe.task.draw.window.size) == (3, 2)


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("training.stepz=3", "'steps'"),
        ("task.draw.window.siez=3", "'size'"),
        ("task.draw.window.high=30", "30 of 6"),
        ("task.draw.window.size=9", "task.draw.window={kind: random, size: 9, low: 0, high: 4}"),
        ("task.draw.points=3", "does not fit the 2 steps that points=3 makes"),
        ("task.draw.points=1000000000000", "task.draw.points=1000000000000: a schedule has"),
        ("task.draw.points=0", "task.draw.points=0: a schedule has 2"),
        ("task.draw={points: 7, width: 0, height: 64}", "task.draw.width=0: a side has"),
        ("task.thought.max_tokens=0", "task.thought.max_tokens=0: from 1"),
        ("prompts.limit=0", "prompts.limit=0: at least 1"),
        ("prompts.limit=-3", "prompts.limit=-3: at least 1"),
        ("validation=[{benchmark: 'geneval:mini', limit: 0}]", "validation[0].limit=0: at least"),
        ("panel=-1", "panel=-1"),
        ("prompts.questions=3", "it takes a path"),
        ("task.kind=rtti", "'rt2i'"),
        ("task.kind=srr", "refine"),
        ("task.kind=mixed", "weights"),
        ("rewards.dvreward.judge=null", "needs a judge"),
        ("task.draw.width=64", "height"),
        ("task.draw.guidance={renorm_floor: 2}", "task.draw.guidance.renorm_floor"),
        ("task.draw.shift=0", "shift"),
        ("task.draw.kernel=ode", "no stochastic steps"),
        ("task.draw.eta=0", "eta"),
        ("task.draw.eta=1.5", "eta"),
        ("task.thought.temperature=0", "temperature"),
        ("task.draw.window={kind: none}", "task.draw stores no steps"),
        ("training.image.kind=guard", "guard"),
    ],
)
def test_a_mistake_in_a_recipe_is_named(assignment: str, words: str) -> None:
    with pytest.raises(AlphaBenchError) as caught:
        load_recipe("nano-rt2i", [assignment])
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("name", "assignments", "words"),
    [
        ("bagel-srr", ["task.refine.train_initial=true"], "task.refine.initial stores no steps"),
        ("nano-srr", ["task.kind=mixed", "task.mixed={rt2i: 0, srr: 0}"], "one of them above 0"),
        ("nano-srr", ["task.kind=mixed", "task.mixed={rt2i: -1, srr: 2}"], "one of them above 0"),
        (
            "nano-rt2i",
            ["validation=[{benchmark: 'geneval:mini'}, {benchmark: 'geneval:mini', seed: 1}]"],
            "'geneval:mini' twice",
        ),
        (
            "nano-rt2i",
            ["training.image.kind=guard", "task.draw.kernel=dance",
             "task.draw.density=squared_error"],
            "squared_error",
        ),
    ],
)  # fmt: skip
def test_parts_that_would_train_nothing_or_fail_later_are_named(
    name: str, assignments: list[str], words: str
) -> None:
    with pytest.raises(AlphaBenchError) as caught:
        load_recipe(name, assignments)
    assert words in str(caught.value)


def test_guard_is_taken_where_it_is_defined() -> None:
    load_recipe("nano-rt2i", ["training.image.kind=guard", "task.draw.kernel=flow_sde"])


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(AlphaBenchError, match="nano-rt2i"):
        load_recipe("nano-rt21")


def test_a_file_that_cannot_be_a_recipe_says_so(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    for content, words in (
        (None, "cannot be read: No such file"),
        ("a: é".encode("latin-1"), "cannot be read: it is not UTF-8"),
        (b"\x7fELF\x02\x01\x01\x00\x00", "is not YAML"),
        (b"a: [1\n", "is not YAML"),
        (b"- 1\n", "holds no settings"),
        (b"", "holds no settings"),
        (b"policy: {}\n", "policy lacks 'checkpoint'"),
        (b" " * (2**20 + 1), "are over"),
    ):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(AlphaBenchError, match=words):
            load_recipe(str(path))
    for name, words in (
        ("/dev/zero", "not a regular file"),
        (str(tmp_path / "x"), "there is no training in"),
    ):
        with pytest.raises(AlphaBenchError, match=words):
            load_recipe(name)


def test_a_recipe_of_one_s_own_need_not_say_what_it_costs_and_may_begin_with_a_mark(
    tmp_path: Path,
) -> None:
    tree = strict_yaml.to_plain(load_recipe("nano-rt2i"))
    del tree["about"]
    path = tmp_path / "own.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + yaml.safe_dump(tree).encode())
    assert load_recipe(path).training == load_recipe("nano-rt2i").training
    (tmp_path / "recipe.yaml").write_text(
        strict_yaml.to_yaml(load_recipe("nano-rt2i", ["panel=2"]))
    )
    assert load_recipe(tmp_path, ["training.steps=3"]).panel == 2
    with pytest.raises(AlphaBenchError, match="holds no training"):
        load_recipe(tmp_path.parent)
