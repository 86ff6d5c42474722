"""Rewards and tasks that prompts do not fit are refused before anything is generated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from alphabench.benchmarks import open_benchmark
from alphabench.core.errors import AlphaBenchError
from alphabench.upstream import UpstreamData
from alphagrpo.assembly_context import AssemblyContext
from alphagrpo.prompt_checks import refuse_sourceless, refuse_unfit
from alphagrpo.prompts import load_prompts
from alphagrpo.rewards.reward_kinds import RewardSettings, open_reward
from alphatrainers.protocols import RewardFunction
from alphatrainers.trajectory import TrainingPrompt
from tests.cli.conftest import Shell

MINI = (
    "geneval:mini",
    "geneval2:mini",
    "tiif:mini",
    "wise:mini",
    "dpg:mini",
    "gedit:mini",
    "dvreward:mini",
)
SOURCES = (*MINI, "small:?count=8", "words")
FITS = {
    ("geneval:mini", "small:?count=8"),
    ("geneval:mini", "geneval:mini"),
    ("geneval:mini", "dvreward:mini"),
}
"""Beside each benchmark with its own prompts: those that carry GenEval's facts."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> UpstreamData:
    return UpstreamData(cache_dir=tmp_path_factory.mktemp("cache"))


def reward_of(benchmark: str, data: UpstreamData) -> RewardFunction:
    judge = None if benchmark == "geneval:mini" else "scripted:?answer=0.5"
    settings = RewardSettings(kind="evaluator", benchmark=benchmark, judge=judge)
    place = AssemblyContext(folder=Path(), data=data, device="cpu", report=lambda _: None)
    return open_reward(settings, place)


def prompts_of(source: str, data: UpstreamData) -> Sequence[TrainingPrompt]:
    if source == "words":
        return [TrainingPrompt(id="1", text="a red apple")]
    return load_prompts(source, lambda name: open_benchmark(name, data=data), held_out=[])


@pytest.mark.parametrize("benchmark", MINI)
@pytest.mark.parametrize("source", SOURCES)
def test_a_reward_takes_the_prompts_whose_facts_it_reads_and_no_others(
    benchmark: str, source: str, data: UpstreamData
) -> None:
    reward, prompts = reward_of(benchmark, data), prompts_of(source, data)
    if benchmark == source or (benchmark, source) in FITS:
        refuse_unfit("g", reward, prompts)
        return
    with pytest.raises(AlphaBenchError, match="the reward 'g' cannot judge the prompt") as caught:
        refuse_unfit("g", reward, prompts)
    assert "prompts.source" in caught.value.hint


def test_a_detector_that_cannot_know_what_is_asked_for_is_no_reward(data: UpstreamData) -> None:
    facts = {"tag": "single_object", "include": [{"class": "person", "count": 1}]}
    with pytest.raises(AlphaBenchError, match="the detector does not know 'person'"):
        refuse_unfit(
            "g", reward_of("geneval:mini", data), [TrainingPrompt(id="1", text="z", facts=facts)]
        )


def test_what_is_to_be_edited_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(AlphaBenchError, match="names no image to edit"):
        refuse_sourceless([TrainingPrompt(id="1", text="make it red")])
    absent = {"source_image": str(tmp_path / "none.png")}
    with pytest.raises(AlphaBenchError, match=r"none\.png' of the prompt 'make it red' does not"):
        refuse_sourceless([TrainingPrompt(id="1", text="make it red", facts=absent)])


def test_a_training_is_refused_before_it_writes_anything(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("a red apple\ntwo dogs\n")
    shell = Shell(folder=tmp_path, cache=tmp_path / "cache")
    said = shell(
        "train", "nano-rt2i", "rewards={g: {kind: evaluator, benchmark: 'geneval:mini'}}",
        "prompts.source=words.txt", "training.prompts_per_step=2", "--device", "cpu", code=2,
    )  # fmt: skip
    assert "the reward 'g' cannot judge the prompt 'a red apple': it has no fact 'tag'" in said.err
    assert [path.name for path in tmp_path.iterdir()] == ["words.txt"]


MISSING = (
    ("prompts.source=none.jsonl", "prompts: the file of prompts 'none.jsonl' does not exist"),
    ("prompts.source=small:?count=3", "prompts: 3 prompts are fewer than the 16 of a step"),
    ("prompts.source=small:?seed=-1", "prompts: small:: seed=-1 is negative"),
    ("prompts.source=small:?count=99999999", "prompts: small:: count=99999999 is not within"),
    ("rewards.dvreward.judge='http://localhost:1/v1'", "rewards.dvreward: 'http://localhost:1/v1#"),
    ("rewards.dvreward.options={foo: 3}", "rewards.dvreward: there is no option of dvreward"),
    ("policy.options={foo: 3}", "policy: there is no option of a BAGEL checkpoint named 'foo'"),
    ("policy.checkpoint='scene:'", "policy: "),
    ("task.kind=edit", "names no image to edit"),
    ("validation=[{benchmark: 'tiif:mini'}]", "validation[0]: tiif puts its questions to a judge"),
    ("validation=[{benchmark: 'genevall'}]", "validation[0]: there is no benchmark"),
)


@pytest.mark.parametrize(("change", "words"), MISSING)
def test_a_dry_run_lists_what_is_missing(change: str, words: str, tmp_path: Path) -> None:
    shell = Shell(folder=tmp_path, cache=tmp_path / "cache")
    said = shell("train", "nano-rt2i", change, "--dry-run", code=2)
    assert [
        line for line in said.out.splitlines() if line.startswith("missing: ") and words in line
    ]
    assert not list(tmp_path.iterdir())


def test_a_dry_run_of_what_can_begin_ends_well_and_tells_a_lacking_device(tmp_path: Path) -> None:
    shell = Shell(folder=tmp_path, cache=tmp_path / "cache")
    assert "missing" not in shell("train", "nano-rt2i", "--dry-run").out
    said = shell("train", "nano-rt2i", "--dry-run", "--device", "cuda:97", code=2)
    assert "missing: --device: this machine has no device 'cuda:97'" in said.out
    said = shell("train", "nano-rt2i", "--dry-run", "--out", "/dev/null", code=2)
    assert "missing: --out: '/dev/null' cannot be a folder" in said.out
    said = shell("train", "nano-rt2i", "--device", "cuda:97", code=2)
    assert "this machine has no device 'cuda:97'" in said.err
