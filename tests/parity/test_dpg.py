"""Both sides are asked the same of the same pixels, and a difference is named."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alphabench.benchmarks.dpg.benchmark import open_dpg
from alphabench.core.errors import AlphaBenchError
from alphabench.evaluators.mplug import mplug_worker
from alphabench.parity.dpg import WORKER, OriginalPipeline, answer_table, compare_answers
from alphabench.types import Sample
from alphabench.upstream import UpstreamData
from tests.evaluators.detection.mmdet.test_mmdet_detector import gone

SAMPLES = open_dpg("mini", data=UpstreamData(cache_dir=Path("nowhere"))).samples()[:2]
PIPELINE = """
class VisualQuestionAnswering:
    def __init__(self, folder):
        import json, pathlib
        self.rule = json.loads((pathlib.Path(folder) / "configuration.json").read_text())

    def __call__(self, asked):
        if self.rule.get("fails") == asked["question"]:
            raise ValueError("too hard")
        red = asked["image"].convert("RGB").getpixel((0, 0))[0]
        yes = (red + len(asked["question"])) % 2
        return {"text": "yes" if yes else self.rule.get("else", "no")}


def pipeline(task, model, device):
    import fairseq.modules
    from fairseq import utils

    assert task == "vqa" and device == "cpu" and fairseq.modules.Layer()
    return VisualQuestionAnswering(model)
"""


def rule(asked: Sequence[tuple[Image.Image, str]]) -> list[str]:
    """What the made-up pipeline below says."""
    return [
        "yes" if (int(np.asarray(image)[0, 0, 0]) + len(text)) % 2 else "no"
        for image, text in asked
    ]


@pytest.fixture
def original(tmp_path: Path) -> OriginalPipeline:
    """An interpreter with a made-up modelscope, and a folder of weights for it."""
    package = tmp_path / "site" / "modelscope"
    (package / "utils").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "pipelines.py").write_text(PIPELINE)
    (package.parent / "torchvision.py").write_text("")
    (package / "utils" / "__init__.py").write_text("")
    (package / "utils" / "constant.py").write_text(
        "class Tasks:\n    visual_question_answering = 'vqa'\n"
    )
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path / "site"} exec {sys.executable} "$@"\n')
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "configuration.json").write_text("{}")
    return OriginalPipeline(python=python, weights=weights, seconds_per_question=30.0)


@pytest.fixture
def grids(tmp_path: Path) -> Path:
    folder = tmp_path / "grids"
    folder.mkdir()
    for number, sample in enumerate(SAMPLES):
        noise = np.random.default_rng(number).integers(0, 256, size=(32, 32, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{sample.id}.png")
    (folder / "notes.txt").write_text("no picture")
    Image.new("RGB", (8, 8)).save(folder / "unknown.png")
    return folder


def n_questions(sample: Sample) -> int:
    return 4 * len(sample.facts["propositions"])


def test_equal_sides_are_equal_to_the_last_answer(original: OriginalPipeline, grids: Path) -> None:
    rows = compare_answers(grids, SAMPLES, ours=rule, original=original)
    assert [row.n_questions for row in rows] == [
        n_questions(one) for one in sorted(SAMPLES, key=lambda one: one.id)
    ]
    for row in rows:
        assert row.n_equal == row.n_verdicts_equal == row.n_questions
        assert row.scores[0] == row.scores[1]
    total = sum(row.n_questions for row in rows)
    assert f"answers equal on {total} of {total} questions" in answer_table(rows)


def test_another_word_for_no_differs_without_changing_a_score(
    original: OriginalPipeline, grids: Path
) -> None:
    (original.weights / "configuration.json").write_text(json.dumps({"else": "nope"}))
    (row,) = compare_answers(grids, SAMPLES, ours=rule, original=original, limit=1)
    assert row.n_equal < row.n_questions == row.n_verdicts_equal
    assert row.scores[0] == row.scores[1]
    assert "ours 'no', official 'nope'" in answer_table([row])


def test_a_question_on_which_the_pipeline_fails_is_no_answer(
    original: OriginalPipeline, grids: Path
) -> None:
    asked = SAMPLES[0].facts["propositions"][1]["question"]
    (original.weights / "configuration.json").write_text(json.dumps({"fails": asked}))
    with pytest.raises(AlphaBenchError, match="ValueError: too hard"):
        compare_answers(grids, SAMPLES, ours=rule, original=original)


def test_an_interpreter_without_modelscope_says_so(original: OriginalPipeline, grids: Path) -> None:
    (original.python.parent / "site" / "modelscope" / "pipelines.py").unlink()
    with pytest.raises(AlphaBenchError, match=r"No module named 'modelscope\.pipelines'"):
        compare_answers(grids, SAMPLES, ours=rule, original=original)


def test_a_torchvision_that_was_built_for_another_torch_is_imported_all_the_same(
    original: OriginalPipeline, grids: Path
) -> None:
    lacking = "import torch\n\ntorch.library.register_fake('torchvision::nms')(print)\n"
    (original.python.parent / "site" / "torchvision.py").write_text(lacking)
    (row,) = compare_answers(grids, SAMPLES, ours=rule, original=original, limit=1)
    assert row.n_equal == row.n_questions


def test_a_folder_without_grids_is_refused(original: OriginalPipeline, tmp_path: Path) -> None:
    with pytest.raises(AlphaBenchError, match="named after an item"):
        compare_answers(tmp_path, SAMPLES, ours=rule, original=original)
    with pytest.raises(AlphaBenchError, match="there is no folder"):
        compare_answers(tmp_path / "absent", SAMPLES, ours=rule, original=original)


def test_what_the_original_lacks_is_said_before_we_answer_anything(
    original: OriginalPipeline, grids: Path
) -> None:
    def never(_: Sequence[tuple[Image.Image, str]]) -> list[str]:
        raise AssertionError("hours were spent")

    absent = replace(original, python=original.python.with_name("absent"))
    with pytest.raises(AlphaBenchError, match=r"there is no interpreter .*absent'"):
        compare_answers(grids, SAMPLES, ours=never, original=absent)
    (original.weights / "configuration.json").unlink()
    with pytest.raises(AlphaBenchError, match=r"has no 'configuration\.json'"):
        compare_answers(grids, SAMPLES, ours=never, original=original)


def test_the_pipeline_does_not_outlive_a_parent_that_is_killed(original: OriginalPipeline) -> None:
    package = original.python.parent / "site" / "modelscope"
    (package / "pipelines.py").write_text(
        "import os, pathlib, time\n\n\ndef pipeline(task, model, device):\n"
        "    pathlib.Path(model, 'pid').write_text(str(os.getpid()))\n    time.sleep(60)\n"
    )
    requests = original.weights / "requests.json"
    requests.write_text("[]")
    words = [str(original.python), str(WORKER), "--model", str(original.weights)]
    words += ["--requests", str(requests), "--answers", str(requests.with_name("answers"))]
    noted = original.weights / "pid"
    with subprocess.Popen(
        [sys.executable, "-c", f"import subprocess; subprocess.run({words!r})"]
    ) as parent:
        assert comes_true(lambda: noted.is_file() and noted.read_text() != "")
        parent.send_signal(signal.SIGKILL)
    pid = int(noted.read_text())
    assert comes_true(lambda: gone(pid))


def comes_true(happened: Callable[[], bool]) -> bool:
    """Within a while."""
    deadline = time.monotonic() + 20
    while not happened() and time.monotonic() < deadline:
        time.sleep(0.1)
    return happened()


def test_only_what_mplug_does_not_use_is_stood_in_for() -> None:
    finder = mplug_worker.StandIns()
    assert finder.find_spec("fairseq.modules", None) is not None
    assert finder.find_spec("torch", None) is None
    assert finder.find_spec("modelscope", None) is None
