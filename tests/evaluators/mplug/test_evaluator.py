"""mPLUG as DPG's answerer: found, asked, read, checked and refused."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from alphabench.benchmarks.dpg.benchmark import Dpg, open_dpg
from alphabench.core.errors import AlphaBenchError
from alphabench.evaluators.judge_evaluator import JudgeEvaluator
from alphabench.evaluators.mplug.evaluator import MplugJudge, open_mplug
from alphabench.evaluators.mplug.mplug_self_test import run_mplug_self_test
from alphabench.judges.scripted import ScriptedJudge
from alphabench.questions import Capabilities, ImagePart, Question, ReplySampling
from alphabench.types import GeneratedImage, ImageRequest
from alphabench.upstream import UpstreamData
from tests.support.tiny_mplug import questions_for, save_images, save_mplug

NEEDS = Capabilities(images_per_question=1, logprobs=False)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_mplug(tmp_path_factory.mktemp("mplug") / "model")


@pytest.fixture
def benchmark_(tmp_path: Path) -> Dpg:
    return open_dpg("mini", data=UpstreamData(cache_dir=tmp_path / "cache"))


def judge_of(weights: Path, **values: str) -> MplugJudge:
    chosen = {"weights": str(weights), **values}
    return open_mplug(chosen, device="cpu", cache_dir=Path("nowhere"))


def question(path: Path, text: str, number: int) -> Question:
    from alphabench.benchmarks.dpg.questions import BareWord

    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Question(
        image_id=path.stem,
        id=str(number),
        parts=(ImagePart(path=path, sha256=digest), text),
        sampling=ReplySampling(max_tokens=16),
        answer_format=BareWord(empty_is_no=True),
    )


def generated(benchmark: Dpg, path: Path, index: int = 0) -> GeneratedImage:
    request = ImageRequest(sample=benchmark.samples()[0], index=index, seed=0)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return GeneratedImage(request=request, path=path, sha256=digest, seconds=0.0)


def test_every_question_of_an_image_gets_a_verdict_that_tells_the_reply(
    benchmark_: Dpg, weights: Path, tmp_path: Path
) -> None:
    evaluator = benchmark_.evaluator(f"mplug?weights={weights}&self_test=off")
    images = [generated(benchmark_, path, at) for at, path in enumerate(save_images(tmp_path, 3))]
    verdicts = list(evaluator.evaluate(images))
    wanted = list(benchmark_.questions(benchmark_.samples()[0]))
    assert [v.question_id for v in verdicts] == wanted * 3
    for verdict in verdicts:
        assert verdict.status == "scored"
        assert verdict.value == float(verdict.detail["reply"] == "yes")
        assert verdict.detail["model"] == "mplug"


def test_answers_do_not_depend_on_how_questions_are_ordered(weights: Path, tmp_path: Path) -> None:
    judge = judge_of(weights)
    paths = save_images(tmp_path, 3)
    asked = [
        question(path, text, number)
        for path in paths
        for number, text in enumerate(questions_for(0, 9))
    ]
    straight = [answer.reply.text for answer in judge.ask(asked) if answer.reply]
    mixed = sorted(range(len(asked)), key=lambda at: (at % 9, at))
    again = [a.reply.text for a in judge_of(weights).ask([asked[at] for at in mixed]) if a.reply]
    assert [straight[at] for at in mixed] == again
    assert len(straight) == len(asked)


def test_an_image_that_cannot_be_read_fails_alone(weights: Path, tmp_path: Path) -> None:
    good, other = save_images(tmp_path, 2)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    asked = [question(path, "is it?", 0) for path in (good, broken, other)]
    other.write_bytes(other.read_bytes() + b"x")
    answers = list(judge_of(weights).ask(asked))
    assert [answer.status for answer in answers] == ["scored", "failed", "failed"]
    assert "cannot be read" in answers[1].reason
    assert "was altered" in answers[2].reason


def test_the_weights_enter_the_identity(weights: Path, tmp_path: Path) -> None:
    other = save_mplug(tmp_path / "other", seed=1)
    assert judge_of(weights).identity == judge_of(weights).identity
    assert judge_of(weights).identity["model"] != judge_of(other).identity["model"]
    assert judge_of(weights).identity["self_test"] == "on"
    assert judge_of(weights, self_test="off").identity["self_test"] == "off"


def test_the_evaluator_can_be_sent_to_a_worker(benchmark_: Dpg, weights: Path) -> None:
    evaluator = benchmark_.evaluator(f"mplug?weights={weights}")
    assert isinstance(evaluator, JudgeEvaluator)
    assert pickle.loads(pickle.dumps(evaluator)).identity == evaluator.identity


def test_a_judge_beside_mplug_is_refused(benchmark_: Dpg, weights: Path) -> None:
    with pytest.raises(AlphaBenchError, match="by itself"):
        benchmark_.evaluator(f"mplug?weights={weights}", judge=ScriptedJudge("yes"))


def test_absent_weights_name_both_ways_to_have_them(benchmark_: Dpg, tmp_path: Path) -> None:
    with pytest.raises(AlphaBenchError, match="not on this machine") as caught:
        benchmark_.evaluator("mplug")
    assert "alphabench fetch mplug" in caught.value.hint
    with pytest.raises(AlphaBenchError, match=r"has no 'config.yaml'"):
        benchmark_.evaluator(f"mplug?weights={tmp_path}")


def test_random_weights_fail_the_self_test_and_do_not_score(benchmark_: Dpg, weights: Path) -> None:
    with pytest.raises(AlphaBenchError, match="mPLUG is wrong on") as caught:
        benchmark_.evaluator(f"mplug?weights={weights}").self_test()
    assert "must not score" in caught.value.hint
    benchmark_.evaluator(f"mplug?weights={weights}&self_test=off").self_test()


def test_a_wiped_layer_does_not_score(benchmark_: Dpg, weights: Path, tmp_path: Path) -> None:
    import torch

    wiped = save_mplug(tmp_path / "wiped")
    tensors = torch.load(wiped / "pytorch_model.bin", weights_only=True)
    name = "visual_encoder.visual.transformer.resblocks.1.mlp.c_fc.weight"
    tensors[name] = torch.zeros_like(tensors[name])
    torch.save(tensors, wiped / "pytorch_model.bin")
    with pytest.raises(AlphaBenchError, match="is 0 throughout"):
        benchmark_.evaluator(f"mplug?weights={wiped}").self_test()


class Answering:
    """Says what is right, but for the questions whose numbers are given."""

    def __init__(self, wrong: Sequence[int]) -> None:
        self.wrong = wrong
        self.n_asked = 0

    def __call__(self, asked: Sequence[tuple[Image.Image, str]]) -> list[str]:
        from alphabench.evaluators.mplug.mplug_self_test import _circle_trials, _photograph_trials

        self.n_asked = len(asked)
        right = [expected for _, _, expected in [*_photograph_trials(), *_circle_trials()]]
        return ["so" if at in self.wrong else word for at, word in enumerate(right)]


def test_two_mistakes_are_forgiven_and_a_third_is_not() -> None:
    run_mplug_self_test(Answering([3, 8]), device="cpu")
    with pytest.raises(AlphaBenchError, match="wrong on 3 of 23"):
        run_mplug_self_test(Answering([3, 8, 9]), device="cpu")


@pytest.mark.parametrize("word", ["yes", "no", ""])
def test_a_model_that_always_says_one_word_fails(word: str) -> None:
    with pytest.raises(AlphaBenchError, match=r"mPLUG is wrong on [12]\d of 23"):
        run_mplug_self_test(lambda asked: [word] * len(asked), device="cpu")


def test_what_the_worker_imports_of_ours_is_nothing() -> None:
    import ast

    from alphabench.parity.dpg import WORKER

    tree = ast.parse(WORKER.read_text())
    names = [
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    ] + [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert not [name for name in names if name.startswith("alphabench")]
    assert json.dumps(names)
