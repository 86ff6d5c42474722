"""Settings: strict keys, strict types, overrides, and the way back to YAML."""

from __future__ import annotations

import pytest

from alphabench.core.errors import AlphaBenchError
from alphabench.core.yaml_parsing import parse_yaml
from alphatrainers import strict_yaml
from alphatrainers.image_algorithms import ImageLossSettings
from alphatrainers.settings import TrainingSettings


def training(*assignments: str) -> TrainingSettings:
    return strict_yaml.build_settings(
        TrainingSettings, strict_yaml.override({"steps": 3}, assignments)
    )


def test_a_misspelt_key_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(AlphaBenchError, match="did you mean 'prompts_per_step'"):
        training("promts_per_step=4")


def test_a_misspelt_key_inside_a_section_is_refused_where_it_stands() -> None:
    with pytest.raises(AlphaBenchError, match=r"setting at image named 'clip_lo'.*'clip_low'"):
        training("image.clip_lo=0.1")


def test_a_misspelt_choice_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(AlphaBenchError, match="did you mean 'flow_grpo'"):
        training("image.kind=flow_gpro")


def test_an_override_reaches_into_sections_and_is_read_as_yaml() -> None:
    changed = training("image.kind=awm", "optimiser.experts.gen=1e-5", "lora=null", "ema.decay=0.5")
    assert (changed.image.kind, changed.lora) == ("awm", None)
    assert changed.optimiser.experts == {"gen": 1e-5}
    assert changed.ema is not None
    assert changed.ema.decay == 0.5


def test_an_override_leaves_the_tree_it_was_given_alone() -> None:
    tree = {"image": {"kind": "nft"}}
    strict_yaml.override(tree, ["image.kind=awm"])
    assert tree == {"image": {"kind": "nft"}}


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("steps", "not an assignment"),
        ("steps=many", "takes a whole number"),
        ("steps=0", "^steps=0 must be above 0"),
        ("lora.rank=-2", "^lora.rank=-2 must be above 0"),
        ("optimiser.lr=-1", "^optimiser.lr=-1 cannot be negative"),
        ("optimiser.experts={gen: -1}", "^optimiser.experts.gen=-1 cannot be negative"),
        ("guards.unscored_share=2", "^guards.unscored_share=2: a share"),
        ("ema.decay=1", "^ema.decay=1: it is 0 at least and below 1"),
        ("prompts_per_step=1000000", "trajectories a step"),
        ("steps=1.5", "takes a whole number"),
        ("recompute=1", "takes true or false"),
        ("optimiser.lr=.inf", "takes a finite number"),
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
        ("optimiser.weight_decay=-1", "cannot be negative"),
        ("optimiser.lr=2026-13-45", "is not YAML"),
        ("advantage={baseline: leave_one_out, combine: separate}", "leave_one_out"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(assignment: str, message: str) -> None:
    with pytest.raises(AlphaBenchError, match=message):
        training(assignment)


def test_a_key_that_is_assigned_twice_is_refused() -> None:
    with pytest.raises(AlphaBenchError, match="'group_size' is given twice"):
        training("group_size=4", "group_size=6")


def test_a_missing_setting_is_named() -> None:
    with pytest.raises(AlphaBenchError, match="lacks 'steps'"):
        strict_yaml.build_settings(TrainingSettings, {})


def test_a_key_that_is_written_twice_is_refused() -> None:
    with pytest.raises(AlphaBenchError, match="written twice"):
        parse_yaml("a: 1\nb: 2\na: 3\n", source="recipe")


def test_text_that_is_no_yaml_is_refused_in_one_line() -> None:
    for text in ("a: [1\n", "a: {", "a: \x00", "? [1]\n? [1]\n", "a: !!python/object:os.system x"):
        with pytest.raises(AlphaBenchError, match="is not YAML") as caught:
            parse_yaml(text, source="recipe")
        assert "\n" not in str(caught.value)


BOMB = "a: &a [1, 1]\n" + "".join(
    f"{new}: &{new} [*{old}, *{old}, *{old}, *{old}]\n"
    for old, new in zip("abcdefghijklm", "bcdefghijklmn", strict=True)
)


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "a: " + "{b: " * 5000, BOMB, "a: &a [*a]", f"a: 0x{'f' * 5000}"],
    ids=["deep", "deep mappings", "aliases", "circle", "number"],
)
def test_yaml_that_unfolds_without_end_is_refused(text: str) -> None:
    with pytest.raises(AlphaBenchError, match="nested too deeply"):
        parse_yaml(text, source="recipe")


def test_aliases_of_an_ordinary_recipe_are_read() -> None:
    tree = parse_yaml("a: &a {b: 1}\nc: *a\n", source="recipe")
    assert tree == {"a": {"b": 1}, "c": {"b": 1}}
    with pytest.raises(AlphaBenchError, match="merge key"):
        parse_yaml("a: &a {b: 1}\nd: {<<: *a, e: 2}\n", source="recipe")


def test_a_long_value_is_not_repeated_whole() -> None:
    with pytest.raises(AlphaBenchError) as caught:
        training(f"steps={'x' * 10_000}")
    assert len(str(caught.value)) < 200


def test_written_settings_read_back_equal() -> None:
    settings = TrainingSettings(
        steps=7, image=ImageLossSettings(kind="awm", kl_weights={"old": 1.0})
    )
    text = strict_yaml.to_yaml(settings)
    assert strict_yaml.build_settings(TrainingSettings, parse_yaml(text, source="text")) == settings


def test_exponents_without_a_point_are_numbers() -> None:
    tree = parse_yaml("steps: 1\noptimiser: {lr: 5e-5}\n", source="text")
    assert strict_yaml.build_settings(TrainingSettings, tree).optimiser.lr == 5e-5
