"""mmdet, mmcv, modelscope and fairseq live in processes of their own and nowhere else."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import alphabench
from tests.support.mmdet_tiny import save_checkpoint
from tests.support.tiny_mplug import save_mplug

FOREIGN = {"mmdet", "mmcv", "mmengine", "modelscope", "fairseq", "cv2"}
PACKAGE = Path(alphabench.__file__).parent
ROOT = PACKAGE.parents[1]
FOLDERS = (PACKAGE, ROOT / "alphagrpo", ROOT / "trainers" / "alphatrainers")


def foreign_imports(path: Path) -> Iterator[str]:
    """Foreign top-level modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (one.name.split(".")[0] for one in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield (node.module or "").split(".")[0]


def test_only_the_workers_own_files_name_a_foreign_library() -> None:
    files = [path for folder in FOLDERS for path in sorted(folder.rglob("*.py"))]
    assert len(files) > 200
    naming = {path.name for path in files if FOREIGN & set(foreign_imports(path))}
    assert "mmdet_worker.py" in naming  # the scan sees what is there
    assert all(name.endswith("_worker.py") for name in naming), naming


def test_a_worker_imports_no_foreign_library_before_it_runs() -> None:
    for path in PACKAGE.rglob("*_worker.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        tree.body = [one for one in tree.body if isinstance(one, ast.Import | ast.ImportFrom)]
        named = {name for one in tree.body for name in imported(one)}
        assert not FOREIGN & named, path.name


def imported(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (one.name.split(".")[0] for one in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield (node.module or "").split(".")[0]


def test_a_detection_and_every_evaluator_load_none_of_them(
    tmp_path: Path, clip_folder: Path
) -> None:
    weights, mplug = save_checkpoint(tmp_path / "a.pth", 2), save_mplug(tmp_path / "mplug")
    program = f"""
        import json, sys
        from pathlib import Path
        from PIL import Image
        import alphabench.evaluators.mplug.released_files, alphabench.parity.dpg
        from alphabench import registry
        from alphabench.benchmarks.dpg.benchmark import open_dpg
        from alphabench.evaluators.detection.mask2former import official
        from alphabench.evaluators.detection.mmdet import mmdet_detector
        from alphabench.parity import geneval
        from alphabench.evaluators.detection.mmdet.preprocessing import Scale
        from alphabench.upstream import UpstreamData
        for name in registry.known("evaluator"):
            registry.load("evaluator", name)
        options = official.OfficialOptions(weights=Path({str(weights)!r}), min_score=0.0)
        scale = Scale(short_side=96, long_side=160)
        detector = official.OfficialDetector(options, device="cpu", scale=scale)
        _, colours = official.open_official({{"clip": {str(clip_folder)!r}}}, device="cpu")
        image = Image.new("RGB", (64, 48), (200, 30, 30))
        assert detector.detect([image])[0]
        dpg = open_dpg("mini", data=UpstreamData(cache_dir=Path("nowhere")))
        assert dpg.evaluator("mplug?weights={mplug}").judge.answers([(image, "is it?")])
        print(json.dumps(sorted({{name.split(".")[0] for name in sys.modules}})))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True
    )
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert "transformers" in loaded
    assert not FOREIGN & loaded
