from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from alphabench.reports.gallery import gallery_html
from alphabench.reports.gallery_images import THUMBNAIL_PIXELS, embedded_files
from alphabench.runs.store import StoredVerdict
from alphabench.types import ImageRequest, NotGenerated, Sample, Verdict
from tests.support.stored_runs import Answer, Made, RunMaker

HOSTILE = [
    "</article><script>alert(1)</script>",
    '" onerror="alert(1)',
    "]]> --> &amp; &lt; ' `code` | pipe\nsecond line\x00\ud800",
    "<img src=https://evil.example/x.png>",
    "<!-- <script> \u2028 \\u0000 \u202egnp.exe",
    "word " * 2_000,
]


class Page(HTMLParser):
    """Elements with their attributes, and the data that the script shows."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.blocks: dict[str, str] = {}
        self._block: str | None = None
        self.feed(text)
        self.cards: list[dict[str, Any]] = json.loads(self.blocks["cards"])
        self.details = [json.loads(line) for line in self.blocks["details"].strip().split("\n")]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._block = dict(attrs).get("id") if tag == "script" else None

    def handle_data(self, data: str) -> None:
        if self._block is not None:
            self.blocks[self._block] = self.blocks.get(self._block, "") + data

    def handle_endtag(self, tag: str) -> None:
        self._block = None

    def all(self, tag: str, **wanted: str) -> Iterator[dict[str, str | None]]:
        for name, attributes in self.elements:
            if name == tag and all(attributes.get(k) == v for k, v in wanted.items()):
                yield attributes

    def sides(self) -> list[dict[str, Any]]:
        return [side for card in self.cards for one in card["entries"] for side in one["sides"]]


def text_of(made: Made, **settings: int) -> str:
    return gallery_html(made.run, made.samples, evaluation=made.scored, **settings)


def page_of(made: Made, **settings: int) -> Page:
    return Page(text_of(made, **settings))


def states(page: Page) -> list[str]:
    return [entry["state"] for card in page.cards for entry in card["entries"]]


def mixed(request: ImageRequest) -> Answer:
    if request.sample.id == "00000":
        return NotGenerated(status="refused", reason="the filter declined")
    if request.sample.id == "00001":
        return ("failed", "the detector broke")
    if request.sample.id == "00002":
        return None
    return float(request.index)


def test_every_expected_image_has_its_place_and_verdict(make_run: RunMaker) -> None:
    page = page_of(make_run(answer=mixed))
    assert states(page) == ["unscored"] * 6 + ["wrong", "right"] * 9
    assert sum("src" in side for side in page.sides()) == 20


def test_reasons_stand_beside_their_images(make_run: RunMaker) -> None:
    reasons = Counter(side.get("reason") for side in page_of(make_run(answer=mixed)).sides())
    assert reasons == {
        "no image (refused): the filter declined": 2,
        "failed: the detector broke": 2,
        "not made yet": 2,
        "expected cat>=1, found 0": 9,
        None: 9,
    }


def test_a_page_of_few_images_holds_them_and_names_their_files(make_run: RunMaker) -> None:
    made = make_run()
    for side in page_of(made).sides():
        kind, _, content = side["src"].partition(",")
        assert kind == "data:image/png;base64"
        assert side["file"] == f"./images/{side['id']}.png"
        assert base64.b64decode(content) == (made.folder.root / side["file"]).read_bytes()


def test_a_page_of_many_images_refers_to_where_they_lie(make_run: RunMaker) -> None:
    made = make_run()
    sources = [side["src"] for side in page_of(made, most_embedded=23).sides()]
    assert sources[0] == "./images/00000/0.png"
    assert all((made.folder.root / source).is_file() for source in sources)


def test_a_large_image_is_embedded_as_a_thumbnail_with_its_own_size(
    make_run: RunMaker, tmp_path: Path
) -> None:
    made = make_run()
    noise = Image.effect_noise((800, 400), 90).convert("RGB")
    noise.save(made.folder.root / "images" / "00000" / "0.png")
    side = page_of(made).sides()[0]
    assert side["size"] == [800, 400]
    kind, _, content = side["src"].partition(",")
    assert kind == "data:image/webp;base64"
    with Image.open(io.BytesIO(base64.b64decode(content))) as thumbnail:
        assert thumbnail.size == (THUMBNAIL_PIXELS, THUMBNAIL_PIXELS // 2)


def test_an_image_that_is_gone_costs_only_its_own_place(make_run: RunMaker) -> None:
    made = make_run()
    (made.folder.root / "images" / "00000" / "0.png").write_bytes(b"not an image")
    (made.folder.root / "images" / "00000" / "1.png").unlink()
    sources = [side["src"] for side in page_of(made).sides()]
    assert sources[:2] == ["", ""]
    assert all(source.startswith("data:image/png") for source in sources[2:])


def test_a_link_out_of_the_run_folder_is_not_embedded(make_run: RunMaker, tmp_path: Path) -> None:
    made = make_run()
    private = tmp_path.parent / "private.png"
    Image.new("RGB", (3, 3), "red").save(private)
    image = made.folder.root / "images" / "00000" / "0.png"
    image.unlink()
    image.symlink_to(private)
    assert page_of(made).sides()[0]["src"] == ""


def test_hostile_text_stays_data(make_run: RunMaker) -> None:
    made = make_run(HOSTILE[0])
    samples = [
        Sample(id=s.id, prompt=text, group=text[:60], facts={"hint": text})
        for s, text in zip(made.samples, HOSTILE, strict=False)
    ]
    text = gallery_html(made.run, samples, evaluation=made.scored)
    page = Page(text)
    assert [card["prompt"] for card in page.cards] == [
        prompt.replace("\ud800", "\ufffd") for prompt in HOSTILE
    ]
    for block in page.blocks.values():
        if not block.startswith('"use strict"'):
            assert not re.search("[<>&\u2028\u2029]", block)
    assert len(list(page.all("script"))) == 3
    assert not list(page.all("img"))
    assert not any(key.startswith("on") for _, attributes in page.elements for key in attributes)


def test_the_page_loads_nothing_from_elsewhere(make_run: RunMaker) -> None:
    for tag, attributes in page_of(make_run()).elements:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
        assert not re.match(r"(?i)\s*(\w+:)?//", attributes.get("src") or "./")
        assert "style" not in attributes


def test_the_policy_allows_the_pages_own_script_and_style_and_no_other(make_run: RunMaker) -> None:
    text = text_of(make_run())
    (meta,) = Page(text).all("meta", **{"http-equiv": "Content-Security-Policy"})
    policy = meta["content"] or ""
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    for tag in ("script", "style"):
        (content,) = re.findall(rf"(?s)<{tag}>(.*?)</{tag}>", text)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_filters_count_what_they_would_show(make_run: RunMaker) -> None:
    text = text_of(make_run(answer=mixed))
    found = dict(re.findall(r'data-verdict="(\w*)"[^>]*>[^<]*<small>(\d+)</small>', text))
    assert found == {
        "": "24",
        "right": "9",
        "wrong": "9",
        "unscored": "6",
        "failed": "2",
        "missing": "2",
        "refused": "2",
    }
    assert re.findall(r"<option value=\"(\w+)\">\w+ \((\d+)\)", text) == [
        ("one", "12"),
        ("two", "12"),
    ]


def test_the_head_shows_score_interval_and_stamps(make_run: RunMaker) -> None:
    text = text_of(make_run(limit=4))
    assert "<strong>1.000</strong><span>95% interval 0.398 to 1.000</span>" in text
    assert "<b>PARTIAL</b>: the run was limited to 4 samples." in text


def test_the_head_gives_bounds_where_something_is_unscored(make_run: RunMaker) -> None:
    text = text_of(make_run(answer=mixed))
    assert "bounds if all unscored fail / pass: 0.375 to 0.625" in text


def test_deeply_nested_details_are_cut(make_run: RunMaker) -> None:
    nested: dict[str, Any] = {}
    for _ in range(400):
        nested = {"reply": "r", "next": nested, "list": [[nested and 1]]}
    page = judged(make_run(), {"deep": nested, "flat": {"a": {"b": {"c": [[1]]}}}})
    verdict = page.details[0]["entries"][0][0]["verdicts"][1]
    assert verdict["more"] == [["flat: a: b: c 1", "1"]]
    assert "…" in json.dumps(verdict["parts"], ensure_ascii=False)


def test_nothing_scored_is_a_dash_and_never_a_zero(make_run: RunMaker) -> None:
    text = text_of(make_run(answer=lambda _: ("failed", "broke")))
    assert "<strong>—</strong><span>nothing scored</span>" in text
    assert "<span>— nothing scored</span>" in text


def test_a_run_can_be_looked_at_before_it_is_scored(make_run: RunMaker) -> None:
    made = make_run()
    text = gallery_html(made.run, made.samples, evaluation=None)
    assert "geneval@1:mini, not scored" in text
    assert set(states(Page(text))) == {"unscored"}


def test_a_verdict_about_an_earlier_image_is_not_shown(make_run: RunMaker) -> None:
    made = make_run()
    records = made.folder.root / "images.jsonl"
    lines = records.read_text().splitlines(keepends=True)
    changed = re.sub(r'"sha256": "\w+"', '"sha256": "0000"', lines[0])
    records.write_text("".join([*lines, changed]))
    assert states(page_of(made))[:2] == ["unscored", "right"]


def judged(made: Made, *details: dict[str, Any]) -> Page:
    """The page of a run whose first image has one verdict with each of these details."""
    (record,) = [one for name, one in made.run.images.items() if name == "00000/0"]
    verdicts = [
        Verdict(image_id="00000/0", question_id=str(i), value=1.0, status="scored", detail=detail)
        for i, detail in enumerate(details)
    ]
    made.folder.append_verdicts(
        made.evaluation,
        [StoredVerdict(image_sha256=record.sha256, verdict=verdict) for verdict in verdicts],
    )
    return page_of(made)


def test_questions_and_the_judges_replies_are_among_the_details(make_run: RunMaker) -> None:
    page = judged(
        make_run(),
        {"question": "Is it red?", "expected": "yes", "reply": "Yes!", "tokens": [3, 1]},
        {"out_of": 2, "call": {"reply": "so so", "model": "x"}, "scores": [1.0, 0.5]},
    )
    _, first, second = page.details[0]["entries"][0][0]["verdicts"]
    assert page.details[0]["questions"][1:] == [
        {"id": "0", "question": "Is it red?", "expected": "yes"},
        {"id": "1"},
    ]
    assert first == {"q": 1, "value": "1.000", "share": 1.0, "reply": "Yes!"}
    assert second["parts"] == [{"question": "call", "reply": "so so"}]
    assert second["more"] == [["scores", "1, 0.5"]]
    assert (second["out_of"], second["share"]) == ("2", 0.5)
    assert page.cards[0]["entries"][0]["sides"][0]["says"].startswith("◐ partly")


def test_questions_inside_a_verdict_are_questions_too(make_run: RunMaker) -> None:
    inner = [
        {"id": "s0", "question": "A cat?", "status": "scored", "p_yes": 0.75, "reply": "yes"},
        {"id": "s1", "question": "A dog?", "status": "refused", "reason": "no", "tag": "animal"},
    ]
    page = judged(make_run(), {"questions": inner, "others": [1, {"x": 2}]})
    _, verdict = page.details[0]["entries"][0][0]["verdicts"]
    assert verdict["parts"] == [
        {"question": "A cat?", "p_yes": "0.75", "reply": "yes"},
        {"question": "A dog?", "status": "refused", "reason": "no", "more": [["tag", "animal"]]},
    ]
    assert verdict["more"] == [["others 1", "1"], ["others 2: x", "2"]]


def test_what_the_generator_noted_is_among_the_details(make_run: RunMaker) -> None:
    made = make_run()
    records = made.folder.root / "images.jsonl"
    row = json.loads(records.read_text().splitlines()[0])
    row["notes"] = {
        "thought": "a cat, large",
        "thought_cut": False,
        "refinement": [{"before": 0.25, "kept": True}],
    }
    with records.open("a") as file:
        file.write(json.dumps(row) + "\n")
    assert page_of(made).details[0]["entries"][0][0]["notes"] == [
        ["thought", "a cat, large"],
        ["refinement 1: before", "0.25"],
        ["refinement 1: kept", "yes"],
    ]


def test_the_source_image_of_an_edit_is_embedded_and_no_path_is_told(
    make_run: RunMaker, tmp_path: Path
) -> None:
    source = tmp_path.parent / "source.png"
    Image.new("RGB", (5, 5), "blue").save(source)
    sample = Sample(
        id="00000",
        prompt="make it red",
        group="colour",
        source_image=source,
        facts={"where": str(source), "language": "en", "colour": "colour"},
    )
    made = make_run(samples=[sample])
    text = text_of(made)
    page = Page(text)
    assert page.cards[0]["edits"] is True
    assert page.details[0]["source"] == embedded_files([source])[0]
    assert page.details[0]["facts"] == [["language", "en"]]
    assert str(tmp_path.parent) not in page.blocks["details"]


def test_a_source_image_that_is_gone_leaves_the_rest(make_run: RunMaker, tmp_path: Path) -> None:
    sample = Sample(id="00000", prompt="p", group="g", source_image=tmp_path / "none.png")
    page = page_of(make_run(samples=[sample]))
    assert page.cards[0]["edits"] is True
    assert "source" not in page.details[0]


@pytest.mark.parametrize("box", [[1, 2, 3], [1, 2, 3, float("inf"), 5], "text"])
def test_other_things_under_the_name_of_objects_are_not_boxes(
    make_run: RunMaker, box: object
) -> None:
    page = judged(make_run(), {"objects": {"cat": [box, [1, 2, 3, 4, 0.5]]}})
    assert page.details[0]["entries"][0][0]["objects"] == [["cat", 1, 2, 3, 4, 0.5]]
