"""Settings: strict keys, strict types, overrides, and the way back to YAML."""

from __future__ import annotations

from pathlib import Path

import pytest

from alphatrainers import config
from alphatrainers.errors import TrainingError
from alphatrainers.settings import ImageLoss, Training


def training(*assignments: str) -> Training:
    return config.build(Training, config.override({"steps": 3}, assignments))


def test_a_misspelt_key_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(TrainingError, match="did you mean 'prompts_per_step'"):
        training("promts_per_step=4")


def test_a_misspelt_key_inside_a_section_is_refused_where_it_stands() -> None:
    with pytest.raises(TrainingError, match=r"setting at image named 'clip_lo'.*'clip_low'"):
        training("image.clip_lo=0.1")


def test_a_misspelt_choice_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(TrainingError, match="did you mean 'flow_grpo'"):
        training("image.kind=flow_gpro")


def test_an_override_reaches_into_sections_and_is_read_as_yaml() -> None:
    changed = training("image.kind=awm", "optimiser.experts.gen=1e-5", "lora=null", "ema.decay=0.5")
    assert (changed.image.kind, changed.lora) == ("awm", None)
    assert changed.optimiser.experts == {"gen": 1e-5}
    assert changed.ema is not None
    assert changed.ema.decay == 0.5


def test_an_override_leaves_the_tree_it_was_given_alone() -> None:
    tree = {"image": {"kind": "nft"}}
    config.override(tree, ["image.kind=awm"])
    assert tree == {"image": {"kind": "nft"}}


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("steps", "not an assignment"),
        ("steps=many", "takes a whole number"),
        ("steps=1.5", "takes a whole number"),
        ("recompute=1", "takes true or false"),
        ("optimiser.lr=.inf", "takes a number"),
        ("optimiser.betas=[0.9]", "takes a list of 2"),
        ("steps.more=1", "'steps' is a value"),
        ("image=awm", "takes a mapping"),
        ("group_size=1", "a group of one"),
        ("old_decay=slow", "none of none, early"),
        ("image={kind: nft, kl: gaussian}", "not defined"),
        ("rollout_view=ema", "needs the section"),
        ("updates_per_step=5", "multiple of updates_per_step"),
        ("image.clip_low=2", "image: .*at most 1"),
        ("text.clip_low=1.5", "text: .*at most 1"),
        ("optimiser.betas=[0.9, 1.0]", "betas"),
        ("optimiser.weight_decay=-1", "not negative"),
        ("optimiser.lr=2026-13-45", "is not YAML"),
        ("advantage={baseline: leave_one_out, combine: separate}", "leave_one_out"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(assignment: str, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        training(assignment)


def test_what_is_lacking_is_named() -> None:
    with pytest.raises(TrainingError, match="lacks 'steps'"):
        config.build(Training, {})


def test_a_key_that_is_written_twice_is_refused() -> None:
    with pytest.raises(TrainingError, match="written twice"):
        config.parse("a: 1\nb: 2\na: 3\n", source="recipe")


def test_a_file_that_is_no_yaml_or_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("a: [1\n")
    with pytest.raises(TrainingError, match="is not YAML"):
        config.read(path)
    with pytest.raises(TrainingError, match="cannot be read"):
        config.read(tmp_path / "absent.yaml")
    path.write_bytes("a: é".encode("latin-1"))
    with pytest.raises(TrainingError, match="cannot be read"):
        config.read(path)


def test_written_settings_read_back_equal() -> None:
    settings = Training(steps=7, image=ImageLoss(kind="awm", kl_weights={"old": 1.0}))
    text = config.write(settings)
    assert config.build(Training, config.parse(text, source="text")) == settings


def test_exponents_without_a_point_are_numbers() -> None:
    tree = config.parse("steps: 1\noptimiser: {lr: 5e-5}\n", source="text")
    assert config.build(Training, tree).optimiser.lr == 5e-5
