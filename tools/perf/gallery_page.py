"""How long a gallery takes to write, to open and to filter.

Makes a run folder of as many images as wanted from the images of a real run, mirrored and rotated
so that no two files are alike, with the questions and replies of a judged benchmark; writes its
gallery; and opens it in headless Chromium through file://. Prints one line.

    python tools/perf/gallery_page.py RUN --prompts 1065

Needs playwright and a chromium on the PATH. The times are of one page on one machine; compare them
only with others of the same machine.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from alphabench.reports.gallery import gallery_parts
from alphabench.reports.gallery_images import MOST_EMBEDDED
from alphabench.runs.store import Manifest, RunFolder, StoredVerdict, save_image
from alphabench.runs.stored_run import StoredRun
from alphabench.types import GeneratedImage, ImageRequest, Sample, Verdict

IMAGES, QUESTIONS = 4, 10
TURNS = (None, *Image.Transpose)


def large_run(source: StoredRun, root: Path, n_prompts: int) -> tuple[StoredRun, list[Sample], str]:
    """A run of `n_prompts` prompts with 4 images each, and 10 questions about each image."""
    pixels = {**source.manifest.pixels, "benchmark.images_per_sample": str(IMAGES)}
    manifest = Manifest(
        benchmark="large@1", checkpoint="large", pixels=pixels, limit=None, circumstances={}
    )
    folder = RunFolder.create(root, manifest)
    records = list(source.images.values())
    prompts = [record.prompt for record in records]
    samples = [
        Sample(id=f"{i:05}", prompt=f"{prompts[IMAGES * i % len(prompts)]}, {i}", group=f"g{i % 8}")
        for i in range(n_prompts)
    ]
    evaluation = "judge-official-large"
    folder.write_evaluation(evaluation, {"protocol": "official"})
    with folder.locked():
        verdicts: list[StoredVerdict] = []
        for number, sample in enumerate(samples):
            for index in range(IMAGES):
                place = number * IMAGES + index
                record = records[place % len(records)]
                with Image.open(source.root / record.path) as stored:
                    turn = TURNS[place // len(records) % len(TURNS)]
                    image = stored if turn is None else stored.transpose(turn)
                    request = ImageRequest(sample=sample, index=index, seed=place)
                    path, sha256 = save_image(root, request, image, run="large")
                folder.append_image(
                    GeneratedImage(request=request, path=path, sha256=sha256, seconds=0.1)
                )
                verdicts += [
                    StoredVerdict(image_sha256=sha256, verdict=_verdict(request.id, place, q))
                    for q in range(QUESTIONS)
                ]
        folder.append_verdicts(evaluation, verdicts)
    return StoredRun.of(folder), samples, evaluation


def _verdict(image: str, place: int, question: int) -> Verdict:
    value = float(place % 3 == 0 or (place * 7 + question * 3) % 5 > 0)
    return Verdict(
        image_id=image,
        question_id=str(question),
        value=value,
        status="scored",
        detail={
            "question": f"Is the statement number {question} about the objects of this image true?",
            "reply": "yes" if value else "no, the object that is named there is not visible",
            "model": "large",
            "tokens": [400, 12],
        },
    )


def browser_times(page_file: Path) -> dict[str, float]:
    """Seconds until the first images are shown, and until a filter and a search have been."""
    from playwright.sync_api import sync_playwright

    ready = "(images => images.length > 3 && images.slice(0, 4).every(one => one.complete))"
    ready += "([...document.querySelectorAll('main img')])"
    times = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        began = time.perf_counter()
        page.goto(page_file.as_uri(), wait_until="commit")
        while not page.evaluate(ready):  # the page's policy forbids wait_for_function
            time.sleep(0.01)
        times["first images"] = time.perf_counter() - began
        clock = "async (act) => { const began = performance.now(); act(); "
        clock += "await new Promise((done) => requestAnimationFrame(() => setTimeout(done))); "
        clock += "return (performance.now() - began) / 1000; }"
        click = "() => document.querySelector('[data-verdict=\"%s\"]').click()"
        times["filter"] = page.evaluate(f"({clock})({click % 'right'})")
        address = "() => { history.replaceState(null, '', '#q=%s'); "
        address += "dispatchEvent(new HashChangeEvent('hashchange')); }"
        times["first search"] = page.evaluate(f"({clock})({address % 'visible+giraffe'})")
        times["next search"] = page.evaluate(f"({clock})({address % 'visible+couch'})")
        browser.close()
    return times


def main(arguments: Sequence[str] | None = None) -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--prompts", type=int, default=1065)
    parser.add_argument("--embed", type=int, default=MOST_EMBEDDED)
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="gallery-page-") as folder:
        run, samples, name = large_run(
            StoredRun.open(chosen.run), Path(folder) / "run", chosen.prompts
        )
        evaluation = run.evaluation(name)
        began = time.perf_counter()
        parts = gallery_parts(run, samples, evaluation=evaluation, most_embedded=chosen.embed)
        path = run.folder.write_page("gallery.html", parts)
        wrote = time.perf_counter() - began
        times = {"written": wrote, **browser_times(path)}
        size = path.stat().st_size / 1e6
        words = ", ".join(f"{what} {seconds:.2f} s" for what, seconds in times.items())
        print(f"{chosen.prompts * IMAGES} images: {size:.1f} MB, {words}")


if __name__ == "__main__":
    main()
