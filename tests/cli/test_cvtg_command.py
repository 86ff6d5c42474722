"""CVTG-2K by commands: an archive that the user unpacked, images in upstream's layout, a file of
OCR results, and upstream's result file.
"""

from __future__ import annotations

import json
from typing import Any

from alphabench.benchmarks.cvtg.benchmark import FOLDER
from alphabench.benchmarks.cvtg.scoring import AREAS, KINDS
from tests.cli.conftest import Shell
from tests.support.judged_world import noises

RUN = ("run", "cvtg", "--ckpt", "images:pictures", "--layout", "cvtg", "--json")
OCR = ("--evaluator", "ocr?results=ocr.json&engine=paddleocr 2.7.3")


def unpack(here: Shell) -> dict[str, Any]:
    """An archive of the known form with two prompts in a part, their images, and what they say."""
    results: dict[str, Any] = {}
    for kind in KINDS:
        for area in AREAS:
            texts = [f"'word{place} TEA'" for place in range(area)]
            rows = [{"index": i, "prompt": " and ".join(texts)} for i in range(2)]
            file = here.folder / "cache" / FOLDER / kind / f"{area}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps({"data_list": rows}))
            for i in range(2):
                results[f"{kind}/{area}/{i}"] = [[text.strip("'") for text in texts]]
    noises(here.folder / "pictures", [f"{key}.png" for key in results])
    (here.folder / "ocr.json").write_text(json.dumps(results))
    return results


def test_a_folder_of_images_is_scored_and_comes_back_from_upstreams_file(alphabench: Shell) -> None:
    here = alphabench
    assert "CVTG-2K.zip" in here("fetch", "cvtg").out
    assert "CVTG-2K.zip" in here("run", "cvtg", "--ckpt", "scene:", code=2).err
    results = unpack(here)
    whole = here(*RUN, *OCR, "--out", "run").json
    assert (whole["headline"]["value"], whole["extras"]["NED"]["value"]) == (1.0, 1.0)
    assert (whole["statuses"], whole["coverage"]) == ({"scored": 16}, 1.0)
    assert whole["partial"] is True

    results["CVTG/5/1"] = [["word0", "tea"]]
    results["CVTG-Style/2/0"] = "the engine ran out of memory"
    (here.folder / "ocr.json").write_text(json.dumps(results))
    score = ("score", "run", *OCR, "--json")
    less = here(*score, code=1).json
    assert less["statuses"] == {"scored": 15, "failed": 1}
    n_words = 2 * 2 * 2 * sum(AREAS)
    assert less["headline"]["value"] == (n_words - 4 - 4) / (n_words - 4)
    as_upstream = less["extras"]["word accuracy, failures as wrong"]["value"]
    assert as_upstream == (n_words - 4 - 4) / n_words
    strict = here(*score, "--protocol", "strict", code=1).json
    assert strict["headline"]["value"] < less["headline"]["value"]

    here("summarise", "run", "--export", "theirs", code=1)
    words = ("summarise", "cvtg", "--official", f"theirs/{less['run']['evaluation']}")
    official = here(*words, "--json", code=1).json
    assert official["headline"]["value"] == as_upstream
    assert official["extras"]["NED"]["value"] == less["extras"]["NED, failures as wrong"]["value"]
    assert f"Word Accuracy: {as_upstream:.4f}" in here(*words, code=1).out
    assert here("run", "cvtg:mini", "--ckpt", "scene:", "--judge", "scripted:", "--dry-run").out
