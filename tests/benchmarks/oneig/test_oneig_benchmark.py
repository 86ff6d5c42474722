"""OneIG-Bench from prompts to report, with judges that answer as they are told."""

from __future__ import annotations

import json
import pickle
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from alphabench.benchmarks.oneig.benchmark import OneIG, open_oneig, read_facts
from alphabench.benchmarks.oneig.official_files import (
    LAYOUT,
    OFFICIAL_MINI,
    oneig_export_files,
    summarise_oneig_results,
)
from alphabench.benchmarks.oneig.questions import (
    OWN,
    OneIGTexts,
    open_oneig_judge,
    parse_texts,
)
from alphabench.benchmarks.oneig.scoring import counted_answers
from alphabench.core.errors import AlphaBenchError
from alphabench.judges.scripted import Mishap, ScriptedJudge, ScriptedReply
from alphabench.judges.yesno import ExactYes
from alphabench.questions import ImagePart, Question, Reply
from alphabench.runs.plan import requests_for
from alphabench.scenes.geneval_scenes import why_not_renderable
from alphabench.types import GeneratedImage, ProtocolName, Report, Sample, Verdict
from alphabench.upstream import UpstreamData
from alphabench.upstream.layouts import FolderOptions
from tests.support.judged_world import noise

NOWHERE = UpstreamData(cache_dir=Path("nowhere"))
TEXTS = OneIGTexts("Is it so? {question}", "Read it.")
SCRIPT = b"""
class Qwen2_5VLBatchInferencer:
    def __init__(self):
        self.TEXT_PROMPT = ("Read it, " "all of it.")

    def infer_semantic(self, paths, question):
        messages = []
        for path in paths:
            messages.append([{"role": "user", "content": [
                {"type": "image", "image": path}, {"type": "text", "text": f"{question}. Yes?"}]}])

    def infer_ocr(self, paths):
        return [{"role": "user", "content": [
            {"type": "image", "image": path},
            {"type": "text", "text": self.TEXT_PROMPT}]} for path in paths]
"""  # fmt: skip


def mini(protocol: ProtocolName = "official") -> OneIG:
    return open_oneig("mini", protocol=protocol, data=NOWHERE)


def generated_images(folder: Path, samples: Sequence[Sample]) -> list[GeneratedImage]:
    noise(folder / "noise.png")
    return [
        GeneratedImage(request=request, path=folder / "noise.png", sha256="0" * 64, seconds=0.0)
        for request in requests_for(samples, 4, seed=0)
    ]


def report_of(verdicts: Sequence[Verdict], protocol: ProtocolName = "official") -> Report:
    samples = mini().samples()
    return mini(protocol).summarise(samples, verdicts, evaluator="judge", all_samples=samples)


def judged(
    images: Sequence[GeneratedImage],
    script: Callable[[Question], ScriptedReply],
    protocol: ProtocolName = "official",
    texts: OneIGTexts = TEXTS,
) -> list[Verdict]:
    return list(open_oneig_judge(ScriptedJudge(script), texts, protocol).evaluate(images))


def right(question: Question) -> str:
    """Of any question in upstream's words: Yes, or the text of the sample."""
    texts = {sample.id: sample.facts.get("text", "") for sample in mini().samples()}
    return texts[question.image_id.rpartition("/")[0]] if question.id == "text" else "Yes"


def test_the_mini_split_can_be_rendered_and_asks_about_every_word() -> None:
    samples = mini().samples()
    assert [s.id for s in samples if why_not_renderable(s.facts) is not None] == []
    assert [s.group for s in samples] == ["object"] * 10 + ["text"] * 6
    for facts in (sample.facts for sample in samples):
        assert len(facts["questions"]) == len(facts["check"])
        asked = facts["text"].split() if "text" in facts else facts["dependency"]
        assert len(facts["questions"]) == len(asked)


def test_both_parts_are_full_and_neither_makes_a_headline(tmp_path: Path) -> None:
    report = report_of(judged(generated_images(tmp_path, mini().samples()), right))
    assert {name: of.value for name, of in report.groups.items()} == {"alignment": 1.0, "text": 1.0}
    assert (report.headline.value, report.coverage, report.partial) == (None, 1.0, False)
    assert "diversity, style and reasoning are not measured" in report.withheld
    assert "diversity, style and reasoning are not measured" in report.notes
    assert report.extras["text: edit distance"].value == 0.0
    low = report.groups["text"].low
    assert low is not None
    assert 0.3 < low < 0.7, "six texts that agree leave doubt"


def test_questions_count_where_those_that_they_depend_on_hold() -> None:
    parents = [[0], [1], [2], [5], [5, 1]]
    assert counted_answers([0, 1, 1, 1, 1], parents) == (0, 0, 1, 1, 0), "no chain"
    assert counted_answers([1, None, 1, 1, 0], parents) == (1, None, None, 0, 0)


def test_lost_answers_are_in_no_part_and_their_range_is_stated(tmp_path: Path) -> None:
    def script(question: Question) -> ScriptedReply:
        lost = question.image_id == "object_000/0" or question.image_id[-2:] in ("/1", "/2")
        lost &= question.id == "text" or question.image_id == "object_000/0"
        return Mishap(kind="server_error") if lost else right(question)

    report = report_of(judged(generated_images(tmp_path, mini().samples()), script))
    assert {of.value for of in report.groups.values()} == {1.0}
    assert report.statuses == {"scored": 172 + 24 - 17, "failed": 17}
    ranges = [note for note in report.notes if "worst or best" in note]
    assert ranges[0].startswith("alignment is 0.975 to 1.000")
    assert ranges[1].startswith("text is 0.875 to 1.000")


def test_the_official_judge_gets_a_jpeg_and_the_checkpoints_own_settings(tmp_path: Path) -> None:
    asked: dict[str, list[Question]] = {}

    def script(question: Question) -> str:
        asked.setdefault(question.id, []).append(question)
        return right(question)

    samples = [one for one in mini().samples() if one.id in ("object_005", "text_000")]
    for protocol in ("official", "strict"):
        judged(generated_images(tmp_path, samples), script, protocol)
    for name, text in (("1", "Is it so? Is there a bicycle in the picture?"), ("text", "Read it.")):
        official, strict = asked[name][0], asked[name][-1]
        assert official.parts[1] == strict.parts[1] == text
        shown = [one.parts[0] for one in (official, strict)]
        assert [(p.encoding, p.quality) for p in shown if isinstance(p, ImagePart)] == [
            ("jpeg", 75),
            ("png", None),
        ]
        assert (official.sampling.max_tokens, official.sampling.temperature) == (128, None)
    pickle.dumps(open_oneig_judge(ScriptedJudge(""), TEXTS, "official"))
    identities = [
        open_oneig_judge(ScriptedJudge(""), texts, protocol).identity
        for texts in (TEXTS, OWN)
        for protocol in ("official", "strict")
    ]
    assert len({json.dumps(dict(one)) for one in identities}) == 4


def test_upstreams_texts_are_read_from_its_script() -> None:
    assert parse_texts(SCRIPT) == OneIGTexts("{question}. Yes?", "Read it, all of it.")


@pytest.mark.parametrize(
    "script", [b"", SCRIPT.replace(b"self.TEXT_PROMPT =", b"self.other ="),
               SCRIPT.replace(b"{question}", b"so")]
)  # fmt: skip
def test_a_script_of_another_form_is_refused(script: bytes) -> None:
    with pytest.raises(AlphaBenchError, match="does not contain the judge's template"):
        parse_texts(script)


def test_ten_thousand_replies_are_yes_only_where_they_are_that_word() -> None:
    pick, pieces = random.Random(0), ("Yes", "yes", "No", ".", " ", "\n", "<think>", "\ud800", "")
    answer_format = ExactYes(template="{question}")
    for _ in range(10_000):
        text = "".join(pick.choices(pieces, k=pick.randrange(4)))
        cut = pick.choice(("stop", "length"))
        values = answer_format.parse(Reply(text=text, model="m", finish_reason=cut))
        nothing = cut == "length" and not text.strip()
        assert values == (None if nothing else (float(text == "Yes"),))


def test_refusals_are_noes_and_text_officially_and_refused_strictly(tmp_path: Path) -> None:
    def script(_: Question) -> str:
        return "I'm sorry, but I can't help with that."

    images = generated_images(tmp_path, mini().samples())
    official = report_of(judged(images, script))
    assert official.groups["alignment"].value == 0.0
    assert official.coverage == 1.0
    assert any(note.startswith("172 replies are neither") for note in official.notes)
    strict = report_of(judged(images, script, "strict"), "strict")
    assert {of.value for of in strict.groups.values()} == {None}
    assert strict.statuses == {"refused": 172 + 24}
    assert not strict.withheld


@pytest.mark.parametrize("protocol", ["official", "strict"])
def test_a_black_image_is_no_image(tmp_path: Path, protocol: ProtocolName) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "black.png")
    images = [
        replace(one, path=tmp_path / "black.png") if one.id.endswith("/0") else one
        for one in generated_images(tmp_path, mini().samples())
    ]
    report = report_of(judged(images, right, protocol), protocol)
    assert {of.value for of in report.groups.values()} == {1.0}
    assert report.statuses == {"scored": 3 * 49, "missing": 49}
    assert report.partial


def test_an_escaped_line_break_is_a_letter_officially_and_a_blank_strictly() -> None:
    table = rb"""id,text_content
000,['Title: Nets\nAuthors: A']
"""
    official, strict = (read_facts(table, "text.csv", name) for name in ("official", "strict"))
    assert official == {"000": {"text": r"['Title: Nets\nAuthors: A']"}}
    assert strict == {"000": {"text": "['Title: Nets Authors: A']"}}


def test_what_is_written_is_read_again_with_its_gaps(tmp_path: Path) -> None:
    def script(question: Question) -> ScriptedReply:
        if question.image_id.startswith(("text_001", "object_003")):
            return Mishap(kind="server_error")
        return {"text": "pink boat", "1": "No"}.get(question.id, "Yes")

    verdicts = judged(generated_images(tmp_path, mini().samples()), script)
    files = dict(oneig_export_files(mini().samples(), {}, verdicts, split="mini"))
    assert {path.name.partition("_score_EN")[0] for path in files} == {
        "alignment", "alignment_prompt", "text", "text_prompt",
    }  # fmt: skip
    for path, content in files.items():
        (tmp_path / path.name).write_text(str(content))
    again, report = OFFICIAL_MINI.summarise(tmp_path, NOWHERE), report_of(verdicts)
    for name, one in {**report.groups, **report.extras}.items():
        assert {**again.groups, **again.extras}[name].value == pytest.approx(one.value, abs=1e-12)
    assert again.coverage == 14 / 16
    assert "text: 0." in OFFICIAL_MINI.text(again)


@pytest.mark.parametrize(
    ("name", "table", "words"),
    [
        ("text_prompt_score_EN.csv", ",m\n000,0.5\n", "no score"),
        ("text_prompt_score_EN.csv", ",m\n000,\"[1, 2, NaN]\"\n", "no score"),
        ("text_prompt_score_EN.csv", ",m\n777,\"[1, 1, 0.5]\"\n", "'777'"),
        ("alignment_prompt_score_EN.csv", ",m\nobject_000,high\n", "'high'"),
        ("alignment_prompt_score_EN.csv", ",m\nobject_000,7\n", "'7'"),
        ("alignment_prompt_score_EN.csv", ",m,n\nobject_000,1,1\n", "several models"),
        ("alignment_prompt_score_EN.csv", "a,b\n1,2\n", "columns"),
        ("alignment_score_EN.csv", ",alignment\nm,1\n", "neither alignment_prompt_score_EN"),
    ],
)  # fmt: skip
def test_a_table_of_another_form_is_one_sentence(
    tmp_path: Path, name: str, table: str, words: str
) -> None:
    (tmp_path / name).write_text(table)
    with pytest.raises(AlphaBenchError, match=words):
        summarise_oneig_results(tmp_path, NOWHERE, split="mini")


def test_two_tables_of_a_kind_are_refused(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"alignment_prompt_score_EN_{name}.csv").write_text(",m\nobject_000,1\n")
    with pytest.raises(AlphaBenchError, match="2 files"):
        summarise_oneig_results(tmp_path, NOWHERE, split="mini")


@pytest.mark.parametrize(
    "content",
    [[], {"000": {}}, {"000": {"question": "{", "dependency": "{}"}},
     {"000": {"question": '{"2": "so?"}', "dependency": '{"2": [0]}'}}],
)  # fmt: skip
def test_questions_of_another_form_are_refused(content: Any) -> None:
    with pytest.raises(AlphaBenchError, match="no questions by prompt"):
        read_facts(json.dumps(content).encode(), "anime.json", "official")


def test_grids_are_found_by_model_and_two_of_a_prompt_are_refused(tmp_path: Path) -> None:
    for name in ("anime/m/000.webp", "text/m/013 again.png", "text/m/x.png", "reasoning/m/000.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    found = LAYOUT.find(tmp_path, FolderOptions())
    assert {key: len(of) for key, of in found.items()} == {"anime/000": 4, "text/013": 4}
    (tmp_path / "text/m/013.png").write_bytes(b"")
    with pytest.raises(AlphaBenchError, match="two images text/013"):
        LAYOUT.find(tmp_path, FolderOptions())
    (tmp_path / "human/other").mkdir(parents=True)
    with pytest.raises(AlphaBenchError, match="2 models"):
        LAYOUT.find(tmp_path, FolderOptions())
    grid = Image.frombytes("RGB", (5, 4), bytes(range(60)))
    assert LAYOUT.split is not None
    cells = LAYOUT.split(grid, "000.webp", FolderOptions())
    assert [cell.size for cell in cells] == [(2, 2)] * 4
    assert cells[1].getpixel((0, 0)) == grid.getpixel((2, 0))
    assert cells[2].getpixel((0, 0)) == grid.getpixel((0, 2))


def test_a_grid_of_images_of_several_sizes_cannot_be_written(tmp_path: Path) -> None:
    noise(tmp_path / "a.png", side=4)
    noise(tmp_path / "b.png", side=8)
    paths = {"object_000/0": tmp_path / "a.png", "object_000/1": tmp_path / "b.png"}
    with pytest.raises(AlphaBenchError, match="have 2 sizes"):
        list(oneig_export_files(mini().samples(), paths, [], split="mini"))
