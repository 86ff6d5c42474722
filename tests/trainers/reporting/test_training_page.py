"""The page of a training: all of it is there, without scripts, escaped, and it fits a phone."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from alphatrainers.reporting.training_page import EMBEDDED_BYTES, AboutTraining, training_page

HOSTILE = (
    '<img src=x onerror=alert(1)></style><script>alert(2)</script> "quoted" \u202e\ud800 '
    + "w" * 90
)
ABOUT = AboutTraining(
    name=HOSTILE,
    steps=40,
    facts={"checkpoint": HOSTILE},
    commands={"Continue": "alphabench train " + "x" * 300},
    recipe=f"prompts: {HOSTILE}\n",
)


def write_training(folder: Path, *, prompts: list[str] | None, side: int = 8) -> Path:
    """Logs of twenty steps and three validations, and panels of two prompts."""
    (folder / "panels").mkdir(parents=True)
    steps = [
        {
            "step": n, "version": 2, "seconds": {"step": 2.0, "rollout": 1.0},
            "values": {"reward/mean": n / 20, "image/kl": n / 1e3, "images": 8.0 * (n + 1)},
        }
        for n in range(20)
    ]  # fmt: skip
    points = [
        {
            "step": n, "name": HOSTILE, "view": "train", "seconds": {}, "value": 0.5 + n / 100,
            "low": 0.4, "high": 0.8, "samples": 9, "best": True, "folder": f"validation/{n}",
            "from_start": {"value": n / 100, "low": n / 200, "high": n / 50, "pairs": 9},
        }
        for n in (0, 10, 20)
    ]  # fmt: skip
    for name, rows in (("metrics", steps), ("validation", points)):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    for step, colour in ((0, "red"), (10, "lime"), (20, "blue")):
        panel = Image.new("RGB", (2 * side, side), colour)
        panel.save(folder / "panels" / f"step-{step:06d}.png")
    if prompts is not None:
        (folder / "panels" / "prompts.json").write_text(json.dumps(prompts), encoding="utf-8")
    (folder / "validation" / "20").mkdir(parents=True)
    (folder / "validation" / "20" / "gallery.html").write_text("<!doctype html>")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = write_training(tmp_path_factory.mktemp("page"), prompts=[HOSTILE, "a red cube"])
    (made / "report.html").write_text(training_page(made, ABOUT), encoding="utf-8")
    return made


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


def test_the_page_has_no_script_and_no_text_becomes_markup(folder: Path) -> None:
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "<img" not in page
    assert page.count("</style>") == 1
    assert not re.search(r"(src|href)=\"(https?:)?//", page)


def test_the_result_is_said_in_plain_words(folder: Path) -> None:
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "0.500 → 0.700 after step 20" in page
    assert "higher than before training, paired difference +0.200 [+0.100, +0.400]" in page
    assert "20 of 40 training steps" in page


def test_only_validations_with_a_gallery_are_linked(folder: Path) -> None:
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert re.findall(r'href="(validation/[^"]*)"', page) == ["validation/20/gallery.html"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
def test_a_browser_shows_every_section_without_errors_and_without_sideways_scrolling(
    folder: Path, browser: Any, scheme: str, width: int
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page, errors = context.new_page(), []
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    requests: list[str] = []
    page.goto((folder / "report.html").as_uri())
    assert errors == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for section in ("curves", "panels", "validations", "next", "settings"):
        assert page.locator(f"#{section}").bounding_box()["height"] > 40, section
    assert page.locator(".charts svg").count() >= 3
    ink = page.locator(".charts svg text").first.evaluate("one => getComputedStyle(one).fill")
    assert ink == ("rgb(29, 29, 31)" if scheme == "light" else "rgb(236, 236, 238)")
    cells = page.locator(".cell")
    assert cells.count() == 6
    assert "a red cube, after step 20" in [one.get_attribute("aria-label") for one in cells.all()]
    context.close()


def test_a_cell_shows_its_own_part_of_the_panel(tmp_path: Path, browser: Any) -> None:
    folder = write_training(tmp_path / "run", prompts=["left", "right"])
    panel = Image.new("RGB", (64, 32), "red")
    panel.paste("blue", (32, 0, 64, 32))
    panel.save(folder / "panels" / "step-000020.png")
    (folder / "report.html").write_text(training_page(folder, ABOUT), encoding="utf-8")
    page = browser.new_page()
    page.goto((folder / "report.html").as_uri())
    (tmp_path / "shot.png").write_bytes(
        page.locator('[aria-label^="right, after step 20"]').screenshot()
    )
    with Image.open(tmp_path / "shot.png") as shot:
        red, _, blue = shot.convert("RGB").getpixel((56, 56))  # type: ignore[misc]
    page.close()
    assert (red < 40, blue > 215) == (True, True)


def test_panels_without_prompts_are_shown_whole_and_large_ones_are_linked(tmp_path: Path) -> None:
    folder = write_training(tmp_path, prompts=None)
    page = training_page(folder, ABOUT)
    assert page.count('class="whole ') == 3
    assert "data:image/png" in page
    with (folder / "panels" / "step-000020.png").open("ab") as file:
        file.write(b"\0" * EMBEDDED_BYTES)
    page = training_page(folder, ABOUT)
    assert "url(panels/step-000020.png)" in page
    assert "data:image/png" not in page


def test_a_folder_without_steps_and_validations_has_a_page(tmp_path: Path) -> None:
    page = training_page(tmp_path, AboutTraining(name="new", steps=3))
    assert "No held-out score was measured." in page
    assert "0 of 3 training steps" in page


def test_a_short_training_shows_its_first_and_its_last_reward(tmp_path: Path) -> None:
    lines = [
        json.dumps({"step": n, "version": 2, "seconds": {"step": 1.0}, "values": {name: reward}})
        for n, (name, reward) in enumerate([("reward/mean", 0.25), ("reward/mean", 0.75)])
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    page = training_page(tmp_path, AboutTraining(name="short", steps=2))
    assert "0.250 → 0.750" in page
    assert "first and last step<" in page
