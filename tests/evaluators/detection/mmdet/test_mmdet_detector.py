from __future__ import annotations

import hashlib
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alphabench.core.errors import AlphaBenchError
from alphabench.evaluators.detection.coco import COCO_NAMES, GENEVAL_NAMES
from alphabench.evaluators.detection.mmdet.child_process import WORKER
from alphabench.evaluators.detection.mmdet.mmdet_detector import (
    MmdetDetector,
    MmdetOptions,
    open_mmdet,
)

BACKEND = """
    import json, os, pathlib, sys, time
    import numpy as np

    NAMES = {names!r}

    def open_backend(options):
        folder = pathlib.Path(__file__).parent
        with (folder / "starts").open("a") as file:
            file.write(f"{{os.getpid()}}\\n")
        print("libraries print here", flush=True)
        if (folder / "no_start").exists():
            raise RuntimeError("the checkpoint is cut short")
        if (folder / "slow_start").exists():
            time.sleep(60)
        return NAMES, lambda rgb: detect(rgb, folder)

    def detect(rgb, folder):
        what = int(rgb[0, 0, 0])  # the first pixel's red says what happens
        print("and there", file=sys.stderr, flush=True)
        if what == 1 or (what == 2 and not (folder / "crashed").exists()):
            (folder / "crashed").touch()
            print("the GPU went away", file=sys.stderr, flush=True)
            os._exit(9)
        if what == 3:
            time.sleep(60)
        if what == 4:
            raise ValueError("no kernel image")
        if what == 5:
            return [(200, 0.9, (0, 0, 1, 1), None)]
        if what == 6:
            return [(0, float("nan"), (0, 0, 1, 1), None)]
        if what == 7:
            for descriptor in range(3, 400):  # its channel has a high number in a busy process
                try:
                    os.write(descriptor, b"\\x00\\x00\\x00\\x05hello" * 3)
                except OSError:
                    pass
            time.sleep(60)
        mask = (rgb.astype(int).sum(axis=2) % 2).astype(bool)
        mouse, person = (64, 0.5, (0.5, 1, 7, 8.25), mask), (0, 0.9, (0, 0, 5, 5), None)
        return [mouse, (1, 0.04, (0, 0, 1, 1), mask), person]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "scripted_backend.py").write_text(
        textwrap.dedent(BACKEND.format(names=list(COCO_NAMES)))
    )
    (tmp_path / "weights.pth").write_bytes(b"weights")
    return tmp_path


def starts(folder: Path) -> list[int]:
    """Process ids of all workers started so far."""
    path = folder / "starts"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def options(folder: Path, **changes: float) -> MmdetOptions:
    return MmdetOptions(
        python=Path(sys.executable),
        checkpoint=folder / "weights.pth",
        allow_pickle=True,
        **{"start_seconds": 20.0, "image_seconds": 20.0, **changes},  # type: ignore[arg-type]
    )


def detector(folder: Path, **changes: float) -> MmdetDetector:
    return MmdetDetector(
        options(folder, **changes),
        device="cpu",
        backend=("scripted_backend:open_backend", folder),
    )


@pytest.fixture
def opened(folder: Path) -> Iterator[MmdetDetector]:
    found = detector(folder)
    yield found
    found.close()


def noise_image(what: int = 0, *, width: int = 31, height: int = 22) -> Image.Image:
    pixels = np.random.default_rng(what).integers(0, 256, (height, width, 3), dtype=np.uint8)
    pixels[0, 0, 0] = what
    return Image.fromarray(pixels)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_objects_cross_over_with_names_scores_boxes_and_every_pixel_of_their_masks(
    opened: MmdetDetector,
) -> None:
    images = [noise_image(), noise_image(20, width=8, height=9)]
    for image, found in zip(images, opened.detect(images), strict=True):
        assert [one.category for one in found] == ["computer mouse", "person"]
        assert [one.score for one in found] == [0.5, 0.9]
        assert found[0].box == (0.5, 1.0, 7.0, 8.25)
        assert found[0].mask is not None
        assert np.array_equal(found[0].mask, np.array(image).astype(int).sum(axis=2) % 2 == 1)
        assert found[1].mask is None


def test_one_process_serves_all_calls(opened: MmdetDetector, folder: Path) -> None:
    assert opened.detect([]) == []
    assert starts(folder) == []
    for _ in range(3):
        opened.detect([noise_image(), noise_image()])
    assert len(starts(folder)) == 1


def test_a_process_that_dies_is_started_again_and_its_image_is_not_lost(
    opened: MmdetDetector, folder: Path
) -> None:
    found = opened.detect([noise_image(), noise_image(2), noise_image()])
    assert [len(objects) for objects in found] == [2, 2, 2]
    assert len(starts(folder)) == 2


def test_an_image_that_kills_the_process_twice_raises_and_the_next_one_is_served(
    opened: MmdetDetector, folder: Path
) -> None:
    with pytest.raises(RuntimeError, match=r"ended with code 9 .*the GPU went away"):
        opened.detect([noise_image(1)])
    assert len(starts(folder)) == 2
    assert len(opened.detect([noise_image()])[0]) == 2


def test_a_process_that_falls_silent_is_ended_within_its_time(folder: Path) -> None:
    impatient = detector(folder, image_seconds=0.4)
    began = time.monotonic()
    with pytest.raises(RuntimeError, match=r"no answer in 0\.4 s"):
        impatient.detect([noise_image(3)])
    assert time.monotonic() - began < 10
    assert all(map(gone, starts(folder)))


@pytest.mark.parametrize("what", [5, 6, 7], ids=["unknown label", "score nan", "noise"])
def test_nonsense_is_an_error_and_never_an_object(folder: Path, what: int) -> None:
    found = detector(folder)
    with pytest.raises(RuntimeError):
        found.detect([noise_image(what)])
    assert len(starts(folder)) == 2
    found.close()


def test_an_error_inside_mmdet_is_reported_and_costs_no_restart(
    opened: MmdetDetector, folder: Path
) -> None:
    with pytest.raises(RuntimeError, match="mmdet: ValueError: no kernel image"):
        opened.detect([noise_image(4)])
    assert len(opened.detect([noise_image()])[0]) == 2
    assert len(starts(folder)) == 1


def test_a_process_that_cannot_load_is_the_users_to_mend(folder: Path) -> None:
    (folder / "no_start").touch()
    with pytest.raises(AlphaBenchError, match="did not get ready: RuntimeError: the checkpoint is"):
        detector(folder).detect([noise_image()])
    assert all(map(gone, starts(folder)))


def test_a_process_that_loads_for_ever_is_ended(folder: Path) -> None:
    (folder / "slow_start").touch()
    with pytest.raises(AlphaBenchError, match=r"did not get ready: no answer in 1 s"):
        detector(folder, start_seconds=1.0).detect([noise_image()])
    assert all(map(gone, starts(folder)))


def test_closing_and_forgetting_a_detector_end_its_process(folder: Path) -> None:
    closed, forgotten = detector(folder), detector(folder)
    closed.detect([noise_image()])
    forgotten.detect([noise_image()])
    closed.close()
    closed.close()
    del forgotten
    assert [gone(pid) for pid in starts(folder)] == [True, True]


def test_the_process_does_not_outlive_a_parent_that_is_killed(folder: Path) -> None:
    program = f"""
        import pathlib, sys
        sys.path.insert(0, {str(Path(__file__).parents[4])!r})
        from tests.evaluators.detection.mmdet.test_mmdet_detector import detector, noise_image
        folder = pathlib.Path({str(folder)!r})
        found = detector(folder)
        found.detect([noise_image()])
        print("ready", flush=True)
        found.detect([noise_image(3)])
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        (pid,) = starts(folder)
        time.sleep(0.3)  # the worker is asleep over an image by then
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while not gone(pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert gone(pid)


def test_a_detector_that_was_not_used_yet_can_be_sent_to_a_worker(folder: Path) -> None:
    copy = pickle.loads(pickle.dumps(detector(folder)))
    assert len(copy.detect([noise_image()])[0]) == 2
    copy.close()


def consented(folder: Path, **changes: str) -> dict[str, str]:
    return {
        "python": sys.executable,
        "checkpoint": str(folder / "weights.pth"),
        "allow_pickle": "true",
        **changes,
    }


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"allow_pickle": "false"}, "is a pickle, which can run code; .*allow_pickle=true"),
        ({"checkpoint": "absent.pth"}, "there is no checkpoint 'absent.pth'"),
        ({"config": "absent.py"}, "there is no config 'absent.py'"),
        ({"python": "absent"}, "there is no python 'absent'"),
        ({"pyton": "x"}, "did you mean 'python'"),
        ({"image_seconds": "0"}, "must be above 0 seconds"),
    ],
)
def test_what_is_lacking_is_said_before_anything_starts(
    folder: Path, changes: dict[str, str], words: str
) -> None:
    with pytest.raises(AlphaBenchError, match=words):
        open_mmdet(consented(folder, **changes), device="cpu")


def test_the_needed_options_are_named() -> None:
    with pytest.raises(AlphaBenchError, match="needs python="):
        open_mmdet({}, device="cpu")


def test_a_checkpoint_that_is_not_what_its_name_says_is_refused(folder: Path) -> None:
    digest = hashlib.sha256(b"weights").hexdigest()[:8]
    for name in (f"detector-{digest}.pth", "detector-0123abcd.pth"):
        (folder / name).write_bytes(b"weights")
    open_mmdet(consented(folder, checkpoint=str(folder / f"detector-{digest}.pth")), device="cpu")
    with pytest.raises(AlphaBenchError, match="is not what its name says"):
        open_mmdet(
            consented(folder, checkpoint=str(folder / "detector-0123abcd.pth")), device="cpu"
        )


def test_an_interpreter_without_mmdet_is_named_when_its_versions_are_asked(folder: Path) -> None:
    found, _ = open_mmdet(consented(folder), device="cpu")
    with pytest.raises(AlphaBenchError, match="has no mmdet"):
        _ = found.identity


def test_a_file_that_is_no_interpreter_is_named(folder: Path) -> None:
    found, _ = open_mmdet(consented(folder, python=str(folder / "weights.pth")), device="cpu")
    with pytest.raises(AlphaBenchError, match="no usable Python interpreter"):
        _ = found.identity
    with pytest.raises(AlphaBenchError, match="cannot be started"):
        found.detect([noise_image()])


def test_a_configuration_below_the_home_folder_is_found_by_both_processes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = folder / "site" / "mmdet-3.3.0.dist-info"
    site.mkdir(parents=True)
    (site / "METADATA").write_text("Name: mmdet\nVersion: 3.3.0\n")
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={site.parent} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    (folder / "x.py").write_text("model = {}")
    (folder / "echo_backend.py").write_text("def open(of): raise ValueError(of['config'])")
    monkeypatch.setenv("HOME", str(folder))
    chosen = replace(options(folder), python=python, config=Path("~/x.py"))
    found = MmdetDetector(chosen, device="cpu", backend=("echo_backend:open", folder))
    assert found.identity["config"] == hashlib.sha256(b"model = {}").hexdigest()
    with pytest.raises(AlphaBenchError, match=f"ValueError: {folder / 'x.py'}"):
        found.detect([noise_image()])


REAL = """
    import importlib.util, pickle, sys
    import numpy as np

    worker, kernels, transfer, folder = sys.argv[1:]

    def module(path):
        spec = importlib.util.spec_from_file_location("found_" + path[-9:-3], path)
        made = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(made)
        return made

    module(worker).stand_in_for_compiled_ops()
    import mmdet, pathlib, torch
    from mmdet.apis import inference_detector, init_detector
    from mmengine.config import Config
    from mmengine.logging import HistoryBuffer

    torch.manual_seed(0)
    torch.set_num_threads(1)
    own = pathlib.Path(mmdet.__file__).parent / (
        ".mim/configs/mask2former/mask2former_swin-s-p4-w7-224_8xb2-lsj-50e_coco.py"
    )
    config = Config.fromfile(str(own))
    config.model.backbone.update(embed_dims=12, depths=[1, 1, 1, 1], init_cfg=None)
    config.model.panoptic_head.in_channels = [12, 24, 48, 96]
    config.test_pipeline[1].scale = (160, 96)
    config.test_dataloader.dataset.pipeline[1].scale = (160, 96)
    config.dump(folder + "/config.py")
    model = init_detector(config, None, device="cpu", palette="coco")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1 and parameter.min() == parameter.max():
                parameter.normal_(std=0.02)
        model.panoptic_head.cls_embed.weight.normal_(std=0.5)

    def save(name, changed):
        content = {
            "state_dict": {**model.state_dict(), **changed},
            "meta": {"dataset_meta": model.dataset_meta},
            "message_hub": HistoryBuffer(),
        }
        torch.save(content, folder + name)

    save("/real.pth", {})
    wiped = "panoptic_head.cls_embed.weight"
    save("/wiped.pth", {wiped: torch.zeros_like(model.state_dict()[wiped])})
    image = np.load(folder + "/image.npy")
    found = inference_detector(model, np.ascontiguousarray(image[:, :, ::-1])).pred_instances
    keep = found.scores > 0.05
    np.savez(
        folder + "/wanted.npz",
        **{name: found[name][keep].numpy() for name in ("labels", "scores", "bboxes", "masks")},
    )

    sys.modules["alphabench"] = type(sys)("alphabench")
    sys.modules["alphabench.device_transfer"] = module(transfer)
    ours = module(kernels)
    head = model.panoptic_fusion_head
    logits, masks = 2 * torch.randn(2, 100, 81), torch.randn(2, 100, 12, 20)
    for one in range(2):
        theirs = head.instance_postprocess(
            logits[one], torch.nn.functional.interpolate(masks[one][None], size=(33, 47))[0]
        )
        candidates = ours.best_candidates([logits[one : one + 1]], limit=100, min_score=0.0)
        part = ours.segments(
            candidates[0],
            torch.nn.functional.interpolate(masks[one][None], size=(33, 47)),
            input_size=(33, 47), image_size=(33, 47),
        )
        (mine,) = ours.instances(candidates, [part])
        order, mine_order = theirs.scores.argsort(), mine.score_N.argsort()
        assert torch.equal(theirs.labels[order], mine.label_N[mine_order])
        torch.testing.assert_close(theirs.scores[order], mine.score_N[mine_order])
        assert torch.equal(theirs.bboxes[order], mine.box_N4[mine_order])
        assert torch.equal(theirs.masks[order], mine.mask_NHW[mine_order])
"""


@pytest.mark.mmdet
@pytest.mark.timeout(900)
def test_mmdet_itself_gives_the_same_objects_through_the_process_and_the_same_rule(
    tmp_path: Path,
) -> None:
    """Names the interpreter by ALPHABENCH_MMDET_PYTHON; weights are random."""
    python = os.environ.get("ALPHABENCH_MMDET_PYTHON")
    if python is None:
        pytest.skip("ALPHABENCH_MMDET_PYTHON names no interpreter")
    pixels = np.array(noise_image(77, width=96, height=80))
    np.save(tmp_path / "image.npy", pixels)
    script = tmp_path / "real.py"
    script.write_text(textwrap.dedent(REAL))
    kernels = WORKER.parents[1] / "mask2former" / "postprocessing.py"
    transfer = WORKER.parents[3] / "device_transfer.py"
    words = [python, str(script), str(WORKER), str(kernels), str(transfer), str(tmp_path)]
    subprocess.run(words, check=True)
    given = {
        "python": python,
        "checkpoint": str(tmp_path / "real.pth"),
        "config": str(tmp_path / "config.py"),
        "allow_pickle": "true",
    }
    real, _ = open_mmdet(given, device="cpu")
    assert isinstance(real, MmdetDetector)
    assert "mmdet 3" in real.identity["library"]
    (found,) = real.detect([Image.fromarray(pixels)])
    real.close()
    wiped, _ = open_mmdet({**given, "checkpoint": str(tmp_path / "wiped.pth")}, device="cpu")
    with pytest.raises(AlphaBenchError, match=r"cls_embed.weight' is 0 throughout"):
        wiped.detect([Image.fromarray(pixels)])
    wanted = np.load(tmp_path / "wanted.npz")
    assert len(found) > 0
    assert [GENEVAL_NAMES.index(one.category) for one in found] == wanted["labels"].tolist()
    np.testing.assert_allclose([one.score for one in found], wanted["scores"], rtol=1e-5)
    np.testing.assert_allclose([one.box for one in found], wanted["bboxes"])
    for one, mask in zip(found, wanted["masks"], strict=True):
        assert one.mask is not None
        assert np.array_equal(one.mask, mask)
