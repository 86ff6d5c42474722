"""Plain metrics on prompts of the user: which files are read, and what is reported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from alphabench.benchmarks import open_benchmark, open_portable_benchmark
from alphabench.benchmarks.metrics.benchmark import Metrics
from alphabench.core.errors import AlphaBenchError
from alphabench.interfaces import PortableBenchmark
from alphabench.types import Verdict
from alphabench.upstream import UpstreamData

LINES = [
    {"id": "apple", "prompt": "a red apple", "group": "short"},
    {"id": "vases", "prompt": "two vases", "group": "short"},
    {"id": "long", "prompt": "a long prompt, with a comma", "group": "long"},
]


def opened(folder: Path, name: str, text: str) -> Metrics:
    path = folder / name
    path.write_text(text)
    benchmark = open_benchmark("metrics", split=str(path), data=UpstreamData(cache_dir=folder))
    assert isinstance(benchmark, Metrics)
    return benchmark


def jsonl(folder: Path) -> Metrics:
    return opened(folder, "mine.jsonl", "\n".join(map(json.dumps, LINES)))


def verdict(sample: str, value: float | None) -> Verdict:
    return Verdict(
        image_id=f"{sample}/0",
        question_id="score",
        value=value,
        status="failed" if value is None else "scored",
    )


def test_text_jsonl_and_csv_hold_the_same_prompts(tmp_path: Path) -> None:
    lines = opened(tmp_path, "p.txt", "a red apple\n\n two vases \na long prompt, with a comma\n")
    csv = "prompt,id,group\na red apple,apple,short\ntwo vases,vases,short\n"
    table = opened(tmp_path, "p.csv", csv + '"a long prompt, with a comma",long,long\n')
    prompts = [one["prompt"] for one in LINES]
    assert [one.prompt for one in lines.samples()] == prompts
    assert [one.id for one in lines.samples()] == ["0001", "0002", "0003"]
    assert table.samples() == jsonl(tmp_path).samples()
    assert table.card.data_digest == jsonl(tmp_path).card.data_digest != lines.card.data_digest


def test_two_files_of_one_name_never_share_a_table(tmp_path: Path) -> None:
    first = opened(tmp_path, "My prompts.txt", "a cat\n").card.id
    second = opened(tmp_path, "My prompts.txt", "a dog\n").card.id
    assert first.startswith("metrics@1:my-prompts-")
    assert first != second


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.txt", "\n \n", "holds no prompts"),
        ("p.jsonl", '{"prompt": "a"}\n{"promt": "b"}', "promt"),
        ("p.yaml", "a", "neither .txt nor .jsonl nor .csv"),
    ],
)
def test_a_file_that_is_wrong_is_refused(
    name: str, text: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(AlphaBenchError, match=message):
        opened(tmp_path, name, text)


def test_without_a_file_there_are_evaluators_and_no_samples(tmp_path: Path) -> None:
    benchmark = open_benchmark("metrics", data=UpstreamData(cache_dir=tmp_path))
    assert benchmark.card.evaluators[:2] == ("clipscore", "pickscore")
    with pytest.raises(AlphaBenchError, match="needs prompts") as refused:
        benchmark.samples()
    assert "--prompts FILE" in refused.value.hint


def test_the_headline_is_the_mean_over_images_and_failures_are_no_zero(tmp_path: Path) -> None:
    benchmark = jsonl(tmp_path)
    samples = benchmark.samples()
    found = [verdict("apple", 20.0), verdict("vases", 22.0), verdict("long", 30.0)]
    report = benchmark.summarise(samples, found, evaluator="pickscore", all_samples=samples)
    assert report.headline.value == pytest.approx(24.0)
    assert report.groups["short"].value == pytest.approx(21.0)
    assert (report.bounds, report.coverage) == (None, 1.0)
    missing = benchmark.summarise(
        samples, [*found[:2], verdict("long", None)], evaluator="pickscore", all_samples=samples
    )
    assert missing.headline.value == pytest.approx(21.0)
    assert missing.coverage == pytest.approx(2 / 3)


def test_a_group_of_one_prompt_has_the_whole_scale_as_its_interval(tmp_path: Path) -> None:
    benchmark = jsonl(tmp_path)
    samples = benchmark.samples()
    found = [verdict(one.id, 0.25) for one in samples]
    for evaluator, ends in {"clipscore": (0.0, 2.5), "hpsv2": (-1.0, 1.0)}.items():
        report = benchmark.summarise(samples, found, evaluator=evaluator, all_samples=samples)
        assert (report.groups["long"].low, report.groups["long"].high) == ends


def test_a_run_folder_keeps_a_copy_of_the_prompts(tmp_path: Path) -> None:
    benchmark = jsonl(tmp_path)
    assert isinstance(benchmark, PortableBenchmark)
    data = UpstreamData(cache_dir=tmp_path)
    again = open_portable_benchmark(benchmark.portable, protocol="official", data=data)
    assert again == benchmark
    with pytest.raises(AlphaBenchError, match="strict"):
        open_portable_benchmark(benchmark.portable, protocol="strict", data=data)
