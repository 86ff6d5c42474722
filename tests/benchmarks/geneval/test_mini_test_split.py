"""`geneval:mini-test`: written once, renderable, and apart from all that anything is chosen by."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from alphabench.benchmarks import open_benchmark
from alphabench.benchmarks.geneval.benchmark import open_geneval
from alphabench.benchmarks.geneval.scoring import IMAGES_PER_PROMPT
from alphabench.benchmarks.mini_split import MINI_TEST, is_test_split, mini_bytes
from alphabench.checkpoints.scene import open_scene
from alphabench.detections.geneval_rules import QUESTION, decide, select
from alphabench.scenes.descriptions import facts_key
from alphabench.scenes.geneval_scenes import applicable_errors, compose, why_not_renderable
from alphabench.scenes.render import render
from alphabench.scenes.small_world import SMALL_CATEGORIES
from alphabench.types import ImageRequest, Sample, Verdict
from alphabench.upstream import UpstreamData
from alphatrainers.guards import normalised
from tools.assets import build_mini_test

DIGEST = "0f5949033754898a25abff70156db04a5485c157326815cf536fcc80cc66f81f"
TEST = open_benchmark("geneval:mini-test").samples()
DEVELOPMENT = open_benchmark("geneval:mini").samples()


def test_the_prompts_are_those_that_were_written_once() -> None:
    assert hashlib.sha256(mini_bytes(MINI_TEST)).hexdigest() == DIGEST
    card = open_benchmark("geneval:mini-test").card
    assert (card.id, card.data_digest) == ("geneval@1:mini-test", DIGEST)


def test_the_script_writes_the_same_prompts_again() -> None:
    assert build_mini_test.split_text().encode() == mini_bytes(MINI_TEST)


def test_there_are_200_prompts_of_four_tasks() -> None:
    assert Counter(sample.group for sample in TEST) == {
        "position": 60, "color_attr": 60, "counting": 40, "two_object": 40,
    }  # fmt: skip
    counts = Counter(
        clause["count"]
        for one in TEST
        if one.group == "counting"
        for clause in one.facts["include"]
    )
    assert counts == {4: 30, 5: 10}
    named = Counter(clause["class"] for one in TEST for clause in one.facts["include"])
    assert set(named) == set(SMALL_CATEGORIES)
    assert max(named.values()) - min(named.values()) <= 6


def test_no_prompt_is_repeated_or_of_the_development_split_in_other_words() -> None:
    texts = [normalised(sample.prompt) for sample in (*TEST, *DEVELOPMENT)]
    assert len(set(texts)) == len(texts)
    demands = [facts_key(sample.facts) for sample in (*TEST, *DEVELOPMENT)]
    assert len(set(demands)) == len(demands)


def test_a_prompt_names_what_its_facts_ask_for() -> None:
    for sample in TEST:
        for clause in sample.facts["include"]:
            assert clause["class"] in sample.prompt
            assert clause.get("color", "") in sample.prompt
            assert clause.get("position", [""])[0] in sample.prompt


def test_every_scene_passes_the_rules_and_every_planted_error_fails() -> None:
    assert all(why_not_renderable(sample.facts) is None for sample in TEST)
    for number, sample in enumerate(TEST[::7]):
        for error in (None, *applicable_errors(sample.facts)):
            scene = compose(sample.facts, np.random.default_rng(number), error=error)
            truth = render(scene, 96, 96).truth
            selected = select(truth.objects, tag=sample.group)
            verdict = decide(sample.facts, selected, lambda found: found.colour or "natural")
            assert verdict.correct == (error is None), (sample.prompt, error)


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_truthful_scores_are_one_minus_the_share_of_planted_errors(share: float) -> None:
    checkpoint = open_scene("", options={"error": str(share)})
    requests = [
        ImageRequest(sample=sample, index=index, seed=0)
        for sample in TEST
        for index in range(IMAGES_PER_PROMPT)
    ]
    verdicts = [
        Verdict(
            image_id=request.id,
            question_id=QUESTION,
            value=float(checkpoint.planted_error(request) is None),
            status="scored",
        )
        for request in requests
    ]
    bench = open_benchmark("geneval:mini-test", protocol="strict")
    report = bench.summarise(TEST, verdicts, evaluator="truth", all_samples=TEST)
    assert report.headline.value == pytest.approx(1.0 - share, abs=0.02)
    assert set(report.groups) == {"two_object", "counting", "position", "color_attr"}


def test_a_strict_headline_needs_each_of_its_four_tasks_only() -> None:
    bench = open_geneval("mini-test", protocol="strict", data=UpstreamData(cache_dir=Path("/none")))
    some: list[Sample] = [sample for sample in TEST if sample.group != "counting"]
    verdicts = [
        Verdict(image_id=f"{one.id}/{n}", question_id=QUESTION, value=1.0, status="scored")
        for one in some
        for n in range(IMAGES_PER_PROMPT)
    ]
    report = bench.summarise(some, verdicts, evaluator="truth", all_samples=TEST)
    assert report.headline.value is None


@pytest.mark.parametrize(
    ("name", "held_out"),
    [
        ("geneval:mini-test", True),
        ("geneval@1:mini-test", True),
        ("geneval:mini", False),
        ("geneval", False),
        ("dpg:mini", False),
    ],
)
def test_the_test_split_is_known_by_its_name(name: str, held_out: bool) -> None:
    assert is_test_split(name) == held_out
