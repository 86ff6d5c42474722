"""Comparing rewards without a training: synthetic judges of known noise, and stored runs."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from alphabench import evaluate
from alphabench.core.errors import AlphaBenchError
from alphabench.judges.scripted import Mishap, ScriptedJudge, ScriptedReply
from alphabench.questions import Question
from alphabench.reports.reward_calibration import (
    RewardCalibration,
    calibrate_rewards,
    score_reward,
)
from alphabench.reports.reward_calibration_page import conclusions, rewards_markdown
from alphabench.reports.reward_fidelity import ALL_TASKS
from alphabench.reports.reward_images import PromptImages, RewardImages, read_reward_images
from alphabench.runs.factories import open_judge_reward
from alphabench.statistics import Bootstrap
from alphabench.types import GeneratedImage, ImageRequest, Sample

QUICK = Bootstrap(replicates=200)
SEMANTIC = "dvreward?semantic_weight=1"


def normal(*key: object) -> float:
    """The same number for the same key."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return float(np.random.default_rng(list(digest)).normal())


def quality_of(image_id: str) -> float:
    return normal("quality", image_id)


def groups_of(n_prompts: int, n_images: int = 6, *, known: bool = True) -> RewardImages:
    """Images whose truth is 1 for the better half of all."""
    prompts = []
    for number in range(n_prompts):
        sample = Sample(id=f"{number:05}", prompt=f"picture {number}", group="one")
        requests = [ImageRequest(sample=sample, index=i, seed=0) for i in range(n_images)]
        truth = [float(quality_of(request.id) > 0) if known else math.nan for request in requests]
        images = [
            GeneratedImage(request=request, path=Path("x.png"), sha256=request.id, seconds=0.0)
            for request in requests
        ]
        prompts.append(PromptImages(sample=sample, images=tuple(images), truth_I=np.array(truth)))
    return RewardImages(prompts=tuple(prompts), benchmark="b", truth="labels" if known else None)


def judged(noise: float) -> Callable[[Question], ScriptedReply]:
    """P(yes) of a known spread between images, and of known noise between askings."""

    def answer(question: Question) -> ScriptedReply:
        if question.id == "consistency":  # of holistic: grades that know nothing
            return json.dumps({"grades": [5 + round(2 * normal("x", question.image_id)) % 3]})
        if question.id == "quality":
            return '{"grades": [5, 5]}'
        base = 0.5 + 0.08 * quality_of(question.image_id)
        error = noise * normal(question.image_id, question.id, question.repeat)
        return min(max(base + error, 0.0), 1.0)

    return answer


def calibrated(
    judge: ScriptedJudge, images: RewardImages, rewards: Sequence[str], *, repeats: int = 3
) -> RewardCalibration:
    scores = [
        score_reward(name, judge, images, open_reward=open_judge_reward, repeats=repeats)
        for name in rewards
    ]
    return calibrate_rewards(scores, images, judge.identity, reference=12, settings=QUICK)


def test_the_planted_noise_of_a_judge_is_found_and_the_group_follows_from_it() -> None:
    found = calibrated(ScriptedJudge(judged(0.08)), groups_of(40), [SEMANTIC])
    single, averaged = found.rows
    parts = single.metrics[ALL_TASKS].reliability
    assert parts is not None
    assert parts.noise.value == pytest.approx(0.08, rel=0.1)
    assert parts.signal.value == pytest.approx(0.08, rel=0.15)
    assert single.group == pytest.approx(24, abs=4)
    assert averaged.group == pytest.approx(16, abs=2)
    assert averaged.calls == 3 * single.calls == 3.0


def test_the_reward_that_knows_more_is_named() -> None:
    found = calibrated(ScriptedJudge(judged(0.02)), groups_of(20), ["holistic", SEMANTIC])
    best = f"{SEMANTIC} - holistic"
    assert list(found.differences) == [best]
    low = found.differences[best].low
    assert low is not None
    assert low > 0.2
    assert f"`{SEMANTIC}` orders pairs right more often than `holistic`" in conclusions(found)[0]


def test_two_names_for_one_thing_cannot_be_told_apart() -> None:
    rewards = ["dvreward", "dvreward?aggregate=geometric"]
    found = calibrated(ScriptedJudge(judged(0.0)), groups_of(8), rewards, repeats=1)
    assert "cannot be told apart" in conclusions(found)[0]
    assert "asked for once, which shows no noise" in conclusions(found)[1]


def test_a_judge_that_repeats_itself_keeps_the_group() -> None:
    found = calibrated(ScriptedJudge(judged(0.0)), groups_of(8), [SEMANTIC])
    assert [row.group for row in found.rows] == [12]
    assert "repeats as good as exactly" in conclusions(found)[1]


def test_without_a_truth_only_the_noise_is_reported() -> None:
    images = groups_of(8, known=False)
    found = calibrated(ScriptedJudge(judged(0.08)), images, [SEMANTIC])
    page = rewards_markdown(found)
    assert "## Order" not in page
    assert "## Noise" in page
    assert "not whether it is right" in page
    assert found.rows[0].metrics[ALL_TASKS].pair_accuracy.value is None
    assert found.to_json()["rewards"][0]["tasks"]["all"]["pair_accuracy"]["value"] is None


def test_rewards_that_are_missing_are_counted_with_their_reason() -> None:
    def answer(question: Question) -> ScriptedReply:
        failed = question.image_id.endswith("/0")
        return Mishap(kind="server_error") if failed else judged(0.0)(question)

    found = calibrated(ScriptedJudge(answer), groups_of(6), [SEMANTIC], repeats=2)
    assert found.rows[0].metrics[ALL_TASKS].unscored == pytest.approx(1 / 6)
    assert sum(found.reasons.values()) == 12
    assert any("Not scored, 12" in sentence for sentence in conclusions(found))
    json.dumps(found.to_json())


def test_a_reward_that_scores_nothing_is_refused_with_the_reason() -> None:
    judge = ScriptedJudge(lambda _: Mishap(kind="server_error"))
    with pytest.raises(AlphaBenchError, match="scored none of 12 images: failed"):
        score_reward(SEMANTIC, judge, groups_of(2), open_reward=open_judge_reward, repeats=1)


def test_each_repeat_is_another_question_for_a_cache() -> None:
    seen: list[int] = []

    def answer(question: Question) -> ScriptedReply:
        seen.append(question.repeat)
        return 0.5

    calibrated(ScriptedJudge(answer), groups_of(2, 2), [SEMANTIC])
    assert sorted(set(seen)) == [0, 1000, 2000]


@pytest.mark.parametrize("name", ["dvrward", "geneval", ""])
def test_a_reward_that_no_judge_gives_is_refused(name: str) -> None:
    with pytest.raises(AlphaBenchError, match="no reward of a judge named"):
        open_judge_reward(name, ScriptedJudge("yes"))


def test_a_reward_s_unknown_option_is_refused() -> None:
    with pytest.raises(AlphaBenchError, match="semantic_wieght"):
        open_judge_reward("dvreward?semantic_wieght=1", ScriptedJudge("yes"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "scored"
    evaluate("geneval:mini", "scene:?error=0.5&size=64", limit=6, out=folder)
    return folder


def test_the_images_of_a_run_come_with_its_only_evaluation_as_truth(run: Path) -> None:
    images = read_reward_images([run])
    assert len(images.prompts) == 6
    assert images.n_images == 24
    assert images.truth is not None
    assert images.truth.startswith("nano-official")
    truths = np.concatenate([one.truth_I for one in images.prompts])
    assert set(truths.tolist()) == {0.0, 1.0}


def test_runs_with_other_seeds_add_up_and_the_same_run_twice_is_refused(
    run: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    evaluate("geneval:mini", "scene:?error=0.5&size=64", limit=6, seed=1, out=other)
    images = read_reward_images([run, other])  # with a limit, another seed chooses other prompts
    assert {len(one.images) for one in images.prompts} == {4, 8}
    names = [image.id for one in images.prompts for image in one.images]
    assert len(set(names)) == images.n_images == 48
    with pytest.raises(AlphaBenchError, match="two of the runs have the same images"):
        read_reward_images([run, run])


def test_labels_of_a_file_are_the_truth_and_the_others_are_not_known(
    run: Path, tmp_path: Path
) -> None:
    labels = tmp_path / "labels.csv"
    first = read_reward_images([run]).prompts[0]
    labels.write_text(f"image,truth\n{first.images[1].id},0.25\n{first.images[2].path},1\n")
    found = read_reward_images([run], truth=str(labels)).prompts[0].truth_I
    assert found[1:3].tolist() == [0.25, 1.0]
    assert np.isnan(found[[0, 3]]).all()


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("labels.csv", "image,truth\n00000/0,good\n", "row 1 of .* has no `image`, or no number"),
        ("labels.csv", "image,truth\n99999/0,1\n", "1 labels of images that are in no run"),
        ("labels.csv", "image,truth\na.png,1\na.png,0\n", "labels 'a.png' twice"),
        ("labels.jsonl", "[1]\n", "row 1 of .* has no `image`"),
        ("labels.jsonl", "{\n", "is not JSON lines"),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    name: str, text: str, expected: str, run: Path, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(AlphaBenchError, match=expected):
        read_reward_images([run], truth=str(tmp_path / name))


def test_an_evaluation_that_the_run_does_not_have_is_refused(run: Path) -> None:
    with pytest.raises(AlphaBenchError, match="evaluation in this run"):
        read_reward_images([run], truth="nanoo")
    with pytest.raises(AlphaBenchError, match="cannot be read"):
        read_reward_images([run], truth="absent.csv")


def test_single_images_and_runs_of_two_benchmarks_are_refused(run: Path, tmp_path: Path) -> None:
    edits, single = tmp_path / "edits", tmp_path / "single"
    evaluate("tiif:mini", "scene:", judge=ScriptedJudge("yes"), limit=2, out=single)
    with pytest.raises(AlphaBenchError, match="no prompt has two images"):
        read_reward_images([single])
    with pytest.raises(AlphaBenchError, match="is of 'tiif"):
        read_reward_images([run, single])
    with pytest.raises(AlphaBenchError, match="not a run folder"):
        read_reward_images([edits])
