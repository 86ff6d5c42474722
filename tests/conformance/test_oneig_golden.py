"""OneIG-Bench against upstream's own output, on inputs made for the purpose."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from PIL import Image

from alphabench.benchmarks.oneig.benchmark import open_oneig, read_facts
from alphabench.benchmarks.oneig.official_files import oneig_export_files
from alphabench.benchmarks.oneig.questions import OneIGTexts, open_oneig_judge
from alphabench.core.edit_distances import levenshtein
from alphabench.judges.scripted import ScriptedJudge
from alphabench.judges.transcription import LetterTranscription, comparable_letters, match_letters
from alphabench.questions import Question
from alphabench.registry import BENCHMARKS
from alphabench.types import GeneratedImage, ImageRequest, ProtocolName, Report, Sample, Verdict
from alphabench.upstream import UpstreamData
from tests.support.judged_world import noise

TEXTS = OneIGTexts("{question}", "Read it.")
NOWHERE = UpstreamData(cache_dir=Path("nowhere"))


@pytest.fixture
def golden(shared: Path) -> Path:
    return shared / "golden" / "oneig"


def load(path: Path) -> Any:
    return json.loads(path.read_text())


def sample_of(folder: str, number: str, facts: Mapping[str, Any]) -> Sample:
    row = {"folder": folder, "number": number, "prompt": "p", **facts}
    return Sample(id=f"{folder}_{number}", prompt="p", group=folder, facts=row)


def images_of(
    folder: Path, sample: Sample, cells: list[str] | None, black: Path
) -> list[GeneratedImage]:
    """A cell is an image or black; without a file there is none."""
    noise(folder / "noise.png")
    return [
        GeneratedImage(
            request=ImageRequest(sample=sample, index=index, seed=0),
            path=black if cell == "black" else folder / "noise.png",
            sha256="0" * 64,
            seconds=0.0,
        )
        for index, cell in enumerate(cells or [])
    ]


@pytest.fixture
def black(tmp_path: Path) -> Path:
    Image.new("RGB", (8, 8)).save(tmp_path / "black.png")
    return tmp_path / "black.png"


def judged(
    images: list[GeneratedImage], replies: Mapping[str, Mapping[str, str]], protocol: ProtocolName
) -> list[Verdict]:
    def script(question: Question) -> str:
        return replies[question.image_id][question.id]

    evaluator = open_oneig_judge(ScriptedJudge(script), TEXTS, protocol)
    return list(evaluator.evaluate(images))


def report_of(samples: list[Sample], verdicts: list[Verdict], protocol: ProtocolName) -> Report:
    benchmark = open_oneig("en", protocol=protocol, data=NOWHERE)
    return benchmark.summarise(samples, verdicts, evaluator="judge", all_samples=samples)


def exported(samples: list[Sample], verdicts: list[Verdict], kind: str) -> dict[str, str]:
    """Name -> cell of one of upstream's tables, as we write it."""
    files = dict(oneig_export_files(samples, {}, verdicts, split="en"))
    table = files[PurePosixPath(f"results/{kind}_score_EN_alphabench.csv")]
    return {row[0]: row[1] for row in csv.reader(io.StringIO(str(table)))}


def alignment(
    golden: Path, folder: Path, black: Path, protocol: ProtocolName
) -> tuple[list[Sample], list[Verdict]]:
    """Replies by question become replies by image: a black cell has none, and shifts no other."""
    given = load(golden / "alignment_input.json")
    samples, images = [], []
    replies: dict[str, dict[str, str]] = {}
    for name, content in given["Q_D"].items():
        encoded = json.dumps(content).encode()
        for number, facts in read_facts(encoded, f"{name}.json", "official").items():
            sample = sample_of(name, number, facts)
            samples.append(sample)
            cells = given["cells"][f"{name}/{number}"]
            if sample.id == "human_002":  # two files of that name: as if there were none
                cells = None
            images += images_of(folder, sample, cells, black)
            for question, by_cell in given["answers"].get(f"{name}/{number}", {}).items():
                for cell, reply in by_cell.items():
                    replies.setdefault(f"{sample.id}/{cell}", {})[question] = reply
    return samples, judged(images, replies, protocol)


def test_alignment_is_upstreams_by_prompt_and_in_all(
    golden: Path, tmp_path: Path, black: Path
) -> None:
    expected = load(golden / "alignment_expected.json")
    samples, verdicts = alignment(golden, tmp_path, black, "official")
    report = report_of(samples, verdicts, "official")
    assert report.groups["alignment"].value == pytest.approx(expected["alignment"], abs=1e-15)
    cells = exported(samples, verdicts, "alignment_prompt")
    by_prompt = {name: float(cell) if cell else None for name, cell in cells.items() if name}
    assert by_prompt == pytest.approx(expected["per_prompt"], abs=1e-15)
    assert report.headline.value is None
    assert any("neither `Yes` nor `No`" in note for note in report.notes)


def test_strictly_a_yes_in_other_letters_is_a_yes(
    golden: Path, tmp_path: Path, black: Path
) -> None:
    samples, verdicts = alignment(golden, tmp_path, black, "strict")
    for one in verdicts:
        if one.status == "scored":
            assert one.value == float(one.detail["reply"].strip(".").lower() == "yes")
    official = report_of(samples, alignment(golden, tmp_path, black, "official")[1], "official")
    strict = report_of(samples, verdicts, "strict")
    assert strict.groups["alignment"].value > official.groups["alignment"].value  # type: ignore[operator]
    assert strict.statuses == official.statuses


def written(
    golden: Path, folder: Path, black: Path, protocol: ProtocolName
) -> tuple[list[Sample], list[Verdict]]:
    given = load(golden / "text_input.json")
    samples, images, replies = [], [], {}
    for number, text in given["texts"].items():
        sample = sample_of("text", number, {"text": text})
        samples.append(sample)
        images += images_of(folder, sample, given["cells"][number], black)
        for cell, reply in enumerate(given["replies"].get(number, [])):
            replies[f"{sample.id}/{cell}"] = {"text": reply}
    return samples, judged(images, replies, protocol)


def test_text_is_upstreams_with_the_replies_that_it_counts_for_another_prompt(
    golden: Path, tmp_path: Path, black: Path
) -> None:
    expected = load(golden / "text_expected.json")
    samples, verdicts = written(golden, tmp_path, black, "official")
    report = report_of(samples, verdicts, "official")
    names = {"ED": "edit distance", "CR": "exact images", "WAC": "words"}
    found = {name: report.extras[f"text: {ours}"].value for name, ours in names.items()}
    found["text score"] = report.groups["text"].value
    assert found == pytest.approx(expected["summary"], abs=1e-15)
    cells = exported(samples, verdicts, "text_prompt")
    means = {name: json.loads(cell) if cell else None for name, cell in cells.items() if name}
    assert means == {
        name: of and pytest.approx(of, abs=1e-15) for name, of in expected["per_prompt"].items()
    }
    assert any("four black images" in note for note in report.notes)

    strict = report_of(samples, written(golden, tmp_path, black, "strict")[1], "strict")
    assert strict.groups["text"].n_samples == report.groups["text"].n_samples - 1
    assert strict.groups["text"].value > report.groups["text"].value  # type: ignore[operator]
    assert strict.statuses == report.statuses


def test_a_first_prompt_in_black_has_no_value_where_upstream_stops(
    tmp_path: Path, black: Path
) -> None:
    samples = [sample_of("text", f"00{n}", {"text": "so it is"}) for n in range(2)]
    cells = [["black"] * 4, ["image"] * 4]
    images = [
        image
        for sample, of in zip(samples, cells, strict=True)
        for image in images_of(tmp_path, sample, of, black)
    ]
    replies = {image.id: {"text": "so it is"} for image in images}
    report = report_of(samples, judged(images, replies, "official"), "official")
    assert (report.groups["text"].value, report.groups["text"].n_samples) == (1.0, 1)


def test_long_texts_may_have_replies_of_twice_the_length(golden: Path, tmp_path: Path) -> None:
    asked: dict[str, int] = {}

    def script(question: Question) -> str:
        asked[question.image_id] = question.sampling.max_tokens
        return "x"

    given = load(golden / "text_input.json")["texts"]
    for number, text in given.items():
        sample = sample_of("text", number, {"text": text})
        images = images_of(tmp_path, sample, ["image"], tmp_path)
        list(open_oneig_judge(ScriptedJudge(script), TEXTS, "official").evaluate(images))
    for number, most in load(golden / "text_expected.json")["max_new_tokens"]:
        assert asked[f"text_{number}/0"] == most


def test_texts_are_prepared_and_compared_as_upstream_does(golden: Path) -> None:
    cases = load(golden / "text_cases.json")
    for case in cases["preprocess"]:
        assert comparable_letters(case["text"]) == case["cleaned"]
    for case in cases["match_ratio"]:
        matched, expected, _ = match_letters(case["ocr"], case["gt"])
        assert [matched, matched / expected, expected] == case["result"]
    for case in cases["levenshtein"]:
        assert levenshtein(case["a"], case["b"]) == case["distance"]
    official = LetterTranscription(text="x", strict=False)
    for case in cases["clean"]:
        assert [official.transcribed(reply) for reply in case["replies"]] == case["cleaned"]


@pytest.mark.parametrize(
    ("split", "sizes", "n_questions"),
    [
        ("en", {"anime": 245, "human": 244, "object": 206, "text": 200}, 11231),
        (
            "zh",
            {"anime": 245, "human": 244, "object": 206, "multilingualism": 200, "text": 200},
            13822,
        ),
    ],
)
def test_official_data_has_the_known_prompts_questions_and_texts(
    shared: Path, tmp_path: Path, split: str, sizes: dict[str, int], n_questions: int
) -> None:
    data = UpstreamData(cache_dir=tmp_path)
    data.fetch("oneig", source=shared / "upstream")
    benchmark = open_oneig(split, data=data)
    samples = benchmark.samples()
    assert Counter(sample.group for sample in samples) == sizes
    assert len({sample.id for sample in samples}) == len(samples)
    assert BENCHMARKS["oneig"].prompts[f"oneig:{split}"] == len(samples)
    asked = [len(benchmark.questions(sample)) for sample in samples]
    assert sum(asked) == n_questions + 200
    texts = [sample.facts["text"] for sample in samples if sample.group == "text"]
    assert sum(len(text.split()) > 60 for text in texts) == (10 if split == "en" else 0)
    selves = [
        sample.group
        for sample in samples
        for number, parents in enumerate(sample.facts.get("dependency", []), start=1)
        if number in parents
    ]
    assert split == "zh" or selves == ["anime", "object"]
    report = benchmark.summarise(samples, [], evaluator="judge", all_samples=samples)
    assert {group.value for group in report.groups.values()} == {None}
