"""T2I-CoReBench against upstream's own output, on inputs made for the purpose."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from alphabench.benchmarks.corebench.benchmark import open_corebench
from alphabench.benchmarks.corebench.official_files import summarise_corebench_results
from alphabench.benchmarks.corebench.questions import (
    BOUNDS,
    CoreBenchOptions,
    CoreTemplates,
    open_corebench_judge,
)
from alphabench.judges.scripted import Mishap, ScriptedJudge, ScriptedReply
from alphabench.questions import Question, Reply
from alphabench.types import GeneratedImage, ImageRequest, Sample, Verdict
from alphabench.upstream import UpstreamData
from alphabench.upstream.templates import own_template

TEXTS = CoreTemplates("Look.", own_template("{Prompt}: {question}", "Prompt", "question"))
RUNS = {
    "qwen_instruct (Qwen2_5_VL_72B_Instruct)": "Qwen/Qwen2.5-VL-72B-Instruct",
    "qwen_thinking (Qwen3_5_35B_A3B)": "Qwen/Qwen3.5-35B-A3B",
    "gemini": "gemini-2.5-flash",
}


@pytest.fixture
def golden(shared: Path) -> Path:
    return shared / "golden" / "t2i_corebench"


def load(path: Path) -> Any:
    return json.loads(path.read_text())


class Script:
    """The replies of one of upstream's runs, and which bounds they were asked with."""

    def __init__(self, golden: Path, run: str) -> None:
        self.replies, self.run = load(golden / "replies.json"), run
        self.bounds: Counter[int] = Counter()

    def __call__(self, question: Question) -> ScriptedReply:
        name = f"{question.image_id.replace('/', '-')}_{question.id}"
        text, bound = self.replies[name], question.sampling.max_tokens
        self.bounds[bound] += 1
        if self.run == "gemini":
            return Mishap(kind="server_error") if text == "unknown" else text
        if "thinking" in self.run:
            closed = (0, *BOUNDS[1:], 10**9)[sum(map(ord, name)) % 4]
            if bound < closed:
                return Reply(text="let me see yes no", model="m", finish_reason="length")
            text = f"let me see yes no</think>\n\n{text}"
        return Reply(text=text, model="m", finish_reason="stop")


def verdicts(golden: Path, run: str, script: Script) -> list[Verdict]:
    judge = ScriptedJudge(script, name=RUNS[run])
    evaluator = open_corebench_judge(judge, CoreBenchOptions(), TEXTS, "official")
    expected = load(golden / "expected.json")[run]["image_score"]
    images = []
    for name, entry in load(golden / "data.json").items():
        sample = Sample(id=name, prompt=entry["Prompt"], group="C-MI", facts=entry)
        for index in range(4):
            if f"{name}-{index}" in expected:
                request = ImageRequest(sample=sample, index=index, seed=0)
                images.append(GeneratedImage(request=request, path=golden, sha256="0", seconds=0.0))
    return list(evaluator.evaluate(images))


@pytest.mark.parametrize("run", RUNS)
def test_every_reply_is_scored_as_upstream_scores_it(golden: Path, run: str) -> None:
    script = Script(golden, run)
    expected = load(golden / "expected.json")[run]
    found: dict[str, list[Any]] = {}
    for verdict in verdicts(golden, run, script):
        name = verdict.image_id.replace("/", "-")
        found.setdefault(name, []).append("" if verdict.value is None else verdict.value)
    assert found == expected["scores"]
    if "calls" in expected:
        bounds = [(bound, n) for n, bound, temperature, penalty in expected["calls"]]
        assert list(script.bounds.items()) == bounds
        assert {(t, p) for *_, t, p in expected["calls"]} == {(0.0, 1.05)}


@pytest.mark.parametrize("run", RUNS)
def test_a_result_file_has_upstreams_mean_score(golden: Path, tmp_path: Path, run: str) -> None:
    expected, data = load(golden / "expected.json")[run], load(golden / "data.json")
    stored: dict[str, Any] = {}
    for name, scores in expected["scores"].items():
        entry = data[name.rpartition("-")[0]]
        pairs = zip(entry["Checklist"], scores, strict=True)
        stored[name] = {**entry, "Checklist": [{**item, "score": one} for item, one in pairs]}
    path = tmp_path / "C-MI-a_judge.json"
    path.write_text(json.dumps({**stored, "mean_score": expected["mean_score"]}))
    report = summarise_corebench_results(path)
    assert report.groups["C-MI"].value == expected["mean_score"]
    assert report.groups["C-MI"].n_scored == sum(s != "" for s in expected["image_score"].values())
    assert report.headline.value is None
    assert "11 of 12 dimensions have no sample" in report.withheld
    assert report.partial


def test_official_data_has_the_known_prompts_and_questions(shared: Path, tmp_path: Path) -> None:
    data = UpstreamData(cache_dir=tmp_path)
    data.fetch("corebench", source=shared / "upstream")
    benchmark = open_corebench(data=data)
    samples = benchmark.samples()
    counts: Counter[str] = Counter()
    for sample in samples:
        counts[sample.group] += len(benchmark.questions(sample))
    assert len(samples) == 1080
    assert counts == {
        "C-MI": 2601, "C-MA": 1862, "C-MR": 1545, "C-TR": 2354, "R-LR": 637, "R-BR": 743,
        "R-HR": 900, "R-PR": 674, "R-GR": 853, "R-AR": 454, "R-CR": 461, "R-RR": 452,
    }  # fmt: skip
