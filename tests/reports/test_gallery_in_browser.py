from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from alphabench.reports.comparison import ComparisonBasis, compare_runs
from alphabench.reports.comparison_gallery import comparison_gallery_parts
from alphabench.reports.gallery import gallery_html
from alphabench.runs.store import StoredVerdict
from alphabench.types import ImageRequest, NotGenerated, Sample, Verdict
from tests.support.stored_runs import IMAGES, Answer, Made, RunMaker

HOSTILE = "</script><img src=x onerror=alert(1)><script>alert(2)</script> \u202egnp.exe"
PHONE = {"width": 390, "height": 844}


def mixed(request: ImageRequest) -> Answer:
    if request.sample.id == "00000":
        return NotGenerated(status="refused", reason="the filter declined")
    if request.sample.id == "00001":
        return ("failed", "the detector broke")
    return float(request.index)


def written(made: Made, **settings: int) -> str:
    """Writes the gallery; returns its address."""
    text = gallery_html(made.run, made.samples, evaluation=made.scored, **settings)
    return made.folder.write_page("gallery.html", text).as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium")
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return RunMaker(root=tmp_path_factory.mktemp("runs"))(answer=mixed)


@pytest.fixture(scope="module")
def address(made: Made) -> str:
    """Of the page of 12 samples with 2 images each: 18 scored, 2 refused, 2 failed."""
    return written(made)


@pytest.fixture
def opened(browser: Any) -> Iterator[Any]:
    """Opens an address in a window; no page may report an error or load from elsewhere."""
    troubles: list[str] = []
    contexts = []

    def note_message(said: Any) -> None:
        if said.type in ("error", "warning"):  # Chromium adds remarks of its own on a slow machine
            troubles.append(f"{said.type}: {said.text}")

    def note_dialog(dialog: Any) -> None:
        troubles.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def note_request(request: Any) -> None:
        if not request.url.startswith(("file:", "data:")):
            troubles.append(request.url)

    def open_page(url: str, **settings: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1300, "height": 900}, **settings})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(8000)
        page.on("console", note_message)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("dialog", note_dialog)
        page.on("request", note_request)
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert troubles == []


def n_images(page: Any) -> int:
    return int(page.locator("main .open").count())


def counted(page: Any) -> str:
    return str(page.locator("#shown").inner_text())


def fragment(page: Any) -> str:
    return str(page.evaluate("location.hash"))


def focused(page: Any) -> str | None:
    name = page.evaluate("document.activeElement.dataset.image ?? null")
    return None if name is None else str(name)


def search(page: Any, text: str, expected: str) -> None:
    page.locator("#search").fill(text)
    page.locator("#shown", has_text=expected).wait_for()


def test_images_are_shown_with_verdict_reason_and_the_prompt_as_alternative_text(
    opened: Any, address: str
) -> None:
    page = opened(address)
    assert counted(page) == "24 of 24 images"
    wrong = page.locator("figure.wrong").first
    assert "✕ wrong" in wrong.inner_text()
    assert "expected cat>=1, found 0" in wrong.inner_text()
    said = wrong.locator("img").get_attribute("alt")
    assert said == "a picture of 2 cats (wrong, image 1 of 2)"
    refused = page.locator("article").first
    assert "no image (refused): the filter declined" in refused.inner_text()


def test_verdict_status_and_group_filter_and_stay_in_the_address(opened: Any, address: str) -> None:
    page = opened(address)
    page.locator('[data-verdict="wrong"]').click()
    assert counted(page) == "10 of 24 images"
    page.locator("#group").select_option("one")
    assert counted(page) == "5 of 24 images"
    assert fragment(page) == "#group=one&verdict=wrong"
    page.reload()
    assert counted(page) == "5 of 24 images"
    assert page.locator('[data-verdict="wrong"]').get_attribute("aria-pressed") == "true"
    page.locator('[data-verdict="refused"]').click()
    assert counted(page) == "2 of 24 images"


def test_a_group_of_the_head_filters_and_a_second_click_takes_it_back(
    opened: Any, address: str
) -> None:
    page = opened(address)
    bar = page.locator('button[data-group="two"]')
    bar.click()
    assert (counted(page), bar.get_attribute("aria-pressed")) == ("12 of 24 images", "true")
    assert page.locator("#group").input_value() == "two"
    bar.click()
    assert counted(page) == "24 of 24 images"


def test_search_finds_words_of_prompts_and_reasons_in_any_order(opened: Any, address: str) -> None:
    page = opened(address)
    search(page, "CATS 11", "2 of 24 images")
    search(page, "found expected 4", "1 of 24 images")
    search(page, "nothing of the kind", "0 of 24 images")
    assert page.locator("#empty").is_visible()
    page.locator("#reset").click()
    assert (counted(page), fragment(page)) == ("24 of 24 images", "")


def test_sorting_by_score_puts_the_worst_first_and_the_unscored_last(
    opened: Any, tmp_path: Path
) -> None:
    made = RunMaker(root=tmp_path)(
        answer=lambda r: ("failed", "broke") if r.sample.id == "00003" else int(r.sample.id) / 12
    )
    page = opened(written(made))
    page.locator("#sort").select_option("high")
    ids = [text.split(" · ")[1] for text in page.locator("article > p").all_inner_texts()]
    assert (ids[0], ids[-2:]) == ("00011", ["00000", "00003"])
    assert fragment(page) == "#sort=high"


def test_an_address_with_unknown_values_is_the_plain_page(opened: Any, address: str) -> None:
    page = opened(f"{address}#verdict=sideways&group=%3Cb%3E&sort=x&image=nowhere")
    assert (counted(page), fragment(page)) == ("24 of 24 images", "")


def test_keys_walk_over_the_images_and_enlarge_them(opened: Any, address: str) -> None:
    page = opened(address)
    page.keyboard.press("j")
    assert focused(page) == "00000/0"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("k")
    page.keyboard.press("ArrowRight")
    assert focused(page) == "00000/1"
    page.keyboard.press("ArrowDown")
    below = focused(page)
    assert below not in (None, "00000/1")
    page.keyboard.press("ArrowUp")
    assert focused(page) == "00000/1"
    page.keyboard.press("Enter")
    assert page.locator("#zoom .place").inner_text() == "2 of 24"
    page.keyboard.press("ArrowRight")
    assert fragment(page) == "#image=00001%2F0"
    assert "the detector broke" in page.locator("#zoom").inner_text()
    page.keyboard.press("Escape")
    page.locator('main .open[data-image="00001/0"]:focus').wait_for()
    assert not page.locator("#zoom").is_visible()
    assert fragment(page) == ""


def test_the_slash_goes_to_the_search_and_escape_clears_it(opened: Any, address: str) -> None:
    page = opened(address)
    page.keyboard.press("/")
    page.keyboard.type("11 j")
    assert page.locator("#search").input_value() == "11 j"
    page.locator("#shown", has_text="0 of 24").wait_for()
    page.keyboard.press("Escape")
    assert counted(page) == "24 of 24 images"
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#help").is_visible()


def test_the_large_view_follows_filter_and_order(opened: Any, address: str) -> None:
    page = opened(f"{address}#verdict=right&image=00002%2F1")
    assert page.locator("#zoom .place").inner_text() == "1 of 10"
    assert page.locator("#zoom .previous").is_disabled()
    page.locator("#zoom .next").click()
    assert page.locator("#zoom h2").inner_text() == "a picture of 3 cats"


def test_questions_replies_and_thoughts_are_shown_on_demand(opened: Any, tmp_path: Path) -> None:
    made = RunMaker(root=tmp_path)()
    record = made.run.images["00000/0"]
    detail = {"question": "Is it red?", "expected": "no", "reply": "Surely not.", "thought": "Hm"}
    verdict = Verdict(
        image_id="00000/0", question_id="1", value=0.0, status="scored", detail=detail
    )
    made.folder.append_verdicts(
        made.evaluation, [StoredVerdict(image_sha256=record.sha256, verdict=verdict)]
    )
    page = opened(written(made))
    page.locator("main .open").first.click()
    said = page.locator("#zoom").inner_text()
    assert all(text in said for text in ("Is it red?", "expected", "Surely not.", "Hm"))
    page.keyboard.press("Escape")
    search(page, "surely", "1 of 24 images")


def test_an_edit_stands_beside_its_source_image(opened: Any, make_run: RunMaker) -> None:
    source = make_run.root.parent / "source.png"
    Image.new("RGB", (5, 5), "blue").save(source)
    sample = Sample(id="00000", prompt="make it red", group="g", source_image=source)
    page = opened(written(make_run(samples=[sample])))
    assert (
        page.locator("article .source img").get_attribute("alt") == "source image of: make it red"
    )
    page.locator("main .open").first.click()
    labels = page.locator("#zoom .pane figcaption").all_inner_texts()
    assert labels == ["source image", "edited"]
    assert page.evaluate("[...document.images].every((image) => image.naturalWidth > 0)")


def test_hostile_text_is_shown_and_never_run(opened: Any, tmp_path: Path) -> None:
    samples = [Sample(id=f"{i:05}", prompt=HOSTILE, group=HOSTILE) for i in range(2)]
    made = RunMaker(root=tmp_path)(HOSTILE, samples=samples, answer=lambda _: ("failed", HOSTILE))
    page = opened(written(made))
    assert page.locator("article h2").first.inner_text() == HOSTILE
    assert page.locator("h1").inner_text() == HOSTILE
    page.locator("main .open").first.click()
    assert HOSTILE in page.locator("#zoom .reason").inner_text()
    assert page.locator("script").count() == 3
    assert page.locator("[onerror]").count() == 0
    isolated = "getComputedStyle(document.querySelector('%s')).unicodeBidi"
    for place in ("article p bdi", "#zoom .reason", "h1", "article h2"):
        assert page.evaluate(isolated % place) in ("isolate", "plaintext")


def with_thousands_of_images(made: Made, samples: Sequence[Sample]) -> None:
    """Adds 2 images of each sample to a run, all of them the same few pixels."""
    first = made.run.images["00000/0"]
    content = (made.folder.root / first.path).read_bytes()
    rows = []
    for sample in samples:
        folder = made.folder.root / "images" / sample.id
        folder.mkdir(exist_ok=True)
        for index in range(IMAGES):
            (folder / f"{index}.png").write_bytes(content)
            row = {"image_id": f"{sample.id}/{index}", "path": f"images/{sample.id}/{index}.png"}
            shared = {"seed": 7, "prompt": "", "sha256": first.sha256, "seconds": 0.1}
            rows.append(json.dumps({**row, **shared}))
    with (made.folder.root / "images.jsonl").open("a") as file:
        file.write("\n".join(rows) + "\n")


def test_thousands_of_images_are_rendered_in_portions(opened: Any, tmp_path: Path) -> None:
    samples = [Sample(id=f"{i:05}", prompt=f"cat {i}", group=f"g{i % 5}") for i in range(2130)]
    made = RunMaker(root=tmp_path)(samples=samples[:1])
    with_thousands_of_images(made, samples)
    text = gallery_html(made.run, samples, evaluation=made.scored)
    assert len(text) < 1_000_000
    page = opened(made.folder.write_page("gallery.html", text).as_uri())
    assert counted(page) == "4,260 of 4,260 images"
    assert n_images(page) < 500
    assert page.locator("main img[loading=lazy]").count() == n_images(page)
    began = time.perf_counter()
    search(page, "cat 2129", "2 of 4,260 images")
    page.locator("#search").fill("")
    page.locator("#shown", has_text="4,260 of 4,260").wait_for()
    page.locator("#group").select_option("g3")
    assert counted(page) == "852 of 4,260 images"
    assert time.perf_counter() - began < 5
    before = n_images(page)
    page.mouse.wheel(0, 100_000)
    page.locator("main .open").nth(before).wait_for()
    page.evaluate("location.hash = '#image=02100%2F0'")
    page.locator("#zoom h2", has_text="cat 2100").wait_for()
    page.keyboard.press("Escape")


@pytest.mark.parametrize("fragment", ["", "#image=00002%2F0"])
def test_a_phone_needs_no_horizontal_scrolling(opened: Any, address: str, fragment: str) -> None:
    page = opened(address + fragment, viewport=PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    if fragment:
        assert page.evaluate("document.querySelector('#zoom').scrollWidth") == PHONE["width"]


def test_the_colour_scheme_follows_the_system_until_another_is_chosen(
    opened: Any, address: str
) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    light, dark = (
        opened(address, color_scheme=scheme).evaluate(ground) for scheme in ("light", "dark")
    )
    assert light != dark
    page = opened(address, color_scheme="light")
    page.keyboard.press("t")
    page.keyboard.press("t")
    assert page.evaluate(ground) == dark
    page.reload()
    assert page.evaluate(ground) == dark


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast(opened: Any, address: str, scheme: str) -> None:
    page = opened(address, color_scheme=scheme)
    for selector in ("figure.wrong b", "figure.right b", ".reason", ".what", ".stamp b", "#shown"):
        found = page.evaluate(
            """(selector) => {
                const channels = (text) => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
                const light = (rgb) => rgb.map((c) => c / 255)
                    .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
                    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
                let element = document.querySelector(selector);
                const ink = light(channels(getComputedStyle(element).color));
                while (getComputedStyle(element).backgroundColor === "rgba(0, 0, 0, 0)") {
                    element = element.parentElement;
                }
                const ground = light(channels(getComputedStyle(element).backgroundColor));
                return (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
            }""",
            selector,
        )
        assert found >= 4.5, selector


def test_without_scripts_the_scores_stay_and_a_sentence_says_why_there_are_no_images(
    browser: Any, address: str
) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    assert page.locator(".score strong").inner_text() == "0.500"
    assert "24 images" in page.locator(".noscript").inner_text()
    context.close()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Address of a page of two runs: B is right on odd samples, A on the second images."""
    maker = RunMaker(root=tmp_path_factory.mktemp("pair"))
    before = maker("scene:a", answer=lambda request: float(request.index))
    after = maker("scene:b", answer=lambda request: float(int(request.sample.id) % 2))
    parts = comparison_gallery_parts(
        (before.run, after.run),
        compare_runs(before.run, after.run, ComparisonBasis(samples=before.samples)),
        before.samples,
        evaluation=before.evaluation,
        page_folder=maker.root,
    )
    path = maker.root / "comparison.html"
    path.write_text("".join(parts), encoding="utf-8")
    return path.as_uri()


def test_two_runs_are_filtered_by_who_is_right(opened: Any, pair: str) -> None:
    page = opened(pair)
    assert counted(page) == "24 of 24 pairs"
    page.locator('[data-verdict="gained"]').click()
    assert counted(page) == "6 of 24 pairs"
    page.locator('[data-verdict="lost"]').click()
    assert counted(page) == "6 of 24 pairs"
    assert page.locator("main figure").first.locator("img").count() == 2
    page.locator("main .open").first.click()
    labels = page.locator("#zoom .pane figcaption").all_inner_texts()
    assert labels == ["A · ✓ right", "B · ✕ wrong"]
    assert fragment(page).startswith("#verdict=lost&image=")


def test_a_page_of_two_runs_fits_a_phone(opened: Any, pair: str) -> None:
    page = opened(pair, viewport=PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
