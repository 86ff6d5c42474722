from __future__ import annotations

import base64
import hashlib
import io
import re
import shutil
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from alphabench.reports.gallery import gallery_html
from alphabench.types import ImageRequest, NotGenerated, Sample
from tests.support.stored_runs import Answer, Made, RunMaker

HOSTILE = [
    "</article><script>alert(1)</script>",
    '" onerror="alert(1)',
    "]]> --> &amp; &lt; ' `code` | pipe\nsecond line\x00\ud800",
    "<img src=https://evil.example/x.png>",
    "word " * 2_000,
]


class Page(HTMLParser):
    """Elements with their attributes, and the text of the headings of samples."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[str] = []
        self._heading: list[str] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "h2":
            self._heading = []

    def handle_data(self, data: str) -> None:
        if self._heading is not None:
            self._heading.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag == "h2" and self._heading is not None:
            self.headings.append("".join(self._heading))
            self._heading = None

    def all(self, tag: str, **wanted: str) -> Iterator[dict[str, str | None]]:
        for name, attributes in self.elements:
            if name == tag and all(attributes.get(k) == v for k, v in wanted.items()):
                yield attributes


def text_of(made: Made, **settings: int) -> str:
    return gallery_html(
        made.run,
        made.samples,
        evaluation=made.scored,
        embed_pixels=settings.get("embed_pixels"),
    )


def page_of(made: Made) -> Page:
    return Page(text_of(made))


def classes(page: Page) -> list[str | None]:
    return [figure["class"] for figure in page.all("figure")]


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
    assert classes(page) == ["unscored"] * 6 + ["wrong", "right"] * 9
    assert len(list(page.all("img", loading="lazy"))) == 20


def test_reasons_stand_beside_their_images(make_run: RunMaker) -> None:
    text = text_of(make_run(answer=mixed))
    assert text.count("no image (refused): the filter declined") == 2
    assert text.count("failed: the detector broke") == 2
    assert text.count("not made yet") == 2
    assert text.count("expected cat&gt;=1, found 0") == 9


def test_images_are_referred_to_where_they_lie(make_run: RunMaker) -> None:
    made = make_run()
    sources = [image["src"] or "" for image in page_of(made).all("img", loading="lazy")]
    assert sources[0] == "./images/00000/0.png"
    assert all((made.folder.root / source).is_file() for source in sources)


def test_embedded_thumbnails_need_no_other_file(make_run: RunMaker) -> None:
    page = Page(text_of(make_run(), embed_pixels=12))
    for image, figure in zip(page.all("img", loading="lazy"), page.all("figure"), strict=True):
        kind, _, content = (image["src"] or "").partition(",")
        assert kind == "data:image/webp;base64"
        with Image.open(io.BytesIO(base64.b64decode(content))) as thumbnail:
            assert thumbnail.size == (12, 8)
        assert figure["data-size"] == "24x16"


def test_an_image_that_is_gone_costs_only_its_own_thumbnail(make_run: RunMaker) -> None:
    made = make_run()
    (made.folder.root / "images" / "00000" / "0.png").write_bytes(b"not a picture")
    sources = [i["src"] for i in Page(text_of(made, embed_pixels=12)).all("img", loading="lazy")]
    assert sources[0] == "data:,"
    assert all((source or "").startswith("data:image/webp") for source in sources[1:])


def test_hostile_text_is_shown_as_text(make_run: RunMaker, tmp_path: Path) -> None:
    made = make_run(HOSTILE[0])
    samples = [
        Sample(id=s.id, prompt=text, group=text[:60])
        for s, text in zip(made.samples, HOSTILE, strict=False)
    ]
    text = gallery_html(made.run, samples, evaluation=made.scored)
    page = Page(text)
    (tmp_path / "gallery.html").write_text(text, encoding="utf-8")
    shown = [prompt.replace("\x00", "\ufffd").replace("\ud800", "?") for prompt in HOSTILE]
    assert [h for h in page.headings if h] == shown
    assert len(list(page.all("script"))) == 1
    assert len(list(page.all("article"))) == len(HOSTILE)
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
    found = dict(re.findall(r'data-value="(\w*)"[^>]*>[^<]*<small>(\d+)</small>', text))
    assert found == {
        "": "24",
        "right": "9",
        "wrong": "9",
        "unscored": "6",
        "one": "12",
        "two": "12",
    }


def test_the_head_shows_score_interval_and_stamps(make_run: RunMaker) -> None:
    text = text_of(make_run(limit=4))
    assert "<strong>1.000</strong><span>95% interval 0.398 to 1.000</span>" in text
    assert "<b>PARTIAL</b>: the run was limited to 4 samples." in text


def test_nothing_scored_is_a_dash_and_never_a_zero(make_run: RunMaker) -> None:
    text = text_of(make_run(answer=lambda _: ("failed", "broke")))
    assert "<strong>—</strong><span>nothing scored</span>" in text
    assert "<span>— nothing scored</span>" in text


def test_a_run_can_be_looked_at_before_it_is_scored(make_run: RunMaker) -> None:
    made = make_run()
    text = gallery_html(made.run, made.samples, evaluation=None)
    assert "geneval@1:mini, not scored" in text
    assert set(classes(Page(text))) == {"unscored"}


def test_a_verdict_about_an_earlier_image_is_not_shown(make_run: RunMaker) -> None:
    made = make_run()
    records = made.folder.root / "images.jsonl"
    lines = records.read_text().splitlines(keepends=True)
    changed = re.sub(r'"sha256": "\w+"', '"sha256": "0000"', lines[0])
    records.write_text("".join([*lines, changed]))
    assert classes(page_of(made))[:2] == ["unscored", "right"]


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_a_browser_runs_the_page_under_its_own_policy(make_run: RunMaker) -> None:
    made = make_run(answer=mixed)
    path = made.folder.write_page("gallery.html", text_of(made))
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    done = subprocess.run(
        [*command, path.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    assert '<span id="shown" role="status">24 of 24 images</span>' in done.stdout
