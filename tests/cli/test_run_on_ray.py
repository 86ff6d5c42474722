"""A run on a Ray cluster is the run that this machine makes, whatever is killed on the way."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from alphabench.runs.ray_engine import connected_engine
from alphabench.runs.workers import FinishedJob, run_jobs
from tests.cli.conftest import Shell
from tests.support.ray_cluster import RayCluster, running_cluster, visible_gpu

SCENES = ("--ckpt", "scene:?error=0.2", "--limit", "12")
SLOW = """
import time
from PIL import Image

class Slow:
    identity = {"name": "slow"}
    batch_size = 1

    def generate(self, requests):
        time.sleep(0.3)
        return [Image.new("RGB", (64, 64), (one.seed % 256, 0, 0)) for one in requests]
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    pytest.importorskip("ray", reason="the package ray is not installed: pip install -e '.[ray]'")
    with running_cluster() as ours:
        ours.add(cpus=1)
        yield ours


def on_ray(cluster: RayCluster, *more: str) -> list[str]:
    return ["--engine", "ray", "--ray-address", cluster.address, *more]


def lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]


def images(folder: Path) -> dict[str, str]:
    """Id -> digest; an image that was recorded twice fails."""
    records = lines(folder / "images.jsonl")
    found = {str(one["image_id"]): str(one["sha256"]) for one in records}
    assert len(found) == len(records)
    return found


def wait_for_images(folder: Path, number: int) -> None:
    deadline = time.monotonic() + 60
    while len(lines(folder / "images.jsonl")) < number:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_local_and_ray_runs_continue_each_other_though_a_worker_and_a_node_are_lost(
    cluster: RayCluster, alphabench: Shell
) -> None:
    plain = alphabench("run", "geneval:mini", *SCENES, "--out", "plain", "--json")
    here = alphabench.folder / "both"
    alphabench("generate", "geneval:mini", "--ckpt", SCENES[1], "--limit", "2", "--out", here)
    begun = {path: path.stat().st_mtime_ns for path in here.rglob("*.png")}
    node = cluster.add(cpus=1)

    def strike() -> None:
        wait_for_images(here, 9)
        os.kill(cluster.actors()[0], signal.SIGKILL)
        wait_for_images(here, 14)
        cluster.remove(node)

    striking = threading.Thread(target=strike, daemon=True)
    striking.start()
    said = alphabench("run", "geneval:mini", *SCENES, "--out", here, "--json", *on_ray(cluster))
    striking.join()
    assert "another takes its work" in said.err
    assert images(here) == images(alphabench.folder / "plain")
    assert said.report == plain.report
    assert {path: path.stat().st_mtime_ns for path in begun} == begun
    again = alphabench("run", "geneval:mini", *SCENES, "--out", here, "--json")
    assert again.report == plain.report
    assert "generating: 48 images, 48 of them done before" in again.err
    assert cluster.left_actors() == []
    assert [path.name for path in here.iterdir() if path.name.startswith(".")] == []


def test_a_cluster_that_is_too_small_is_refused_before_anything_starts(
    cluster: RayCluster, alphabench: Shell
) -> None:
    said = alphabench(
        "generate", "geneval:mini", *SCENES, *on_ray(cluster, "--workers", "9"), code=2
    )
    assert "the Ray cluster has 1 CPU, and 9 CPUs are wanted" in said.err
    assert cluster.actors() == []
    said = alphabench(
        "generate", "geneval:mini", *SCENES, *on_ray(cluster, "--devices", "0"), code=2
    )
    assert "--devices 0 names GPUs of this machine" in said.err


@pytest.mark.whole
def test_your_own_code_is_found_where_the_command_is_given(
    cluster: RayCluster, alphabench: Shell
) -> None:
    (alphabench.folder / "mine.py").write_text(SLOW)
    words = ("generate", "geneval:mini", "--ckpt", "python:mine:Slow", "--limit", "1")
    alphabench.outside(*words, "--out", "own", *on_ray(cluster))
    assert len(images(alphabench.folder / "own")) == 4


def test_a_cluster_that_is_not_there_is_one_sentence(alphabench: Shell) -> None:
    pytest.importorskip("ray")
    words = ("generate", "geneval:mini", *SCENES, "--engine", "ray", "--ray-address")
    assert "no Ray cluster at 'localhost:9'" in alphabench(*words, "localhost:9", code=2).err
    assert "--ray-address cannot be 'ray://h:1'" in alphabench(*words, "ray://h:1", code=2).err


def test_an_address_without_the_engine_is_refused(alphabench: Shell) -> None:
    said = alphabench("generate", "geneval:mini", *SCENES, "--ray-address", "localhost:9", code=2)
    assert "add --engine ray" in said.err


@pytest.mark.whole
@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_run_leaves_no_actor_and_either_engine_continues_it(
    cluster: RayCluster, alphabench: Shell, by: signal.Signals
) -> None:
    (alphabench.folder / "mine.py").write_text(SLOW)
    words = ("generate", "geneval:mini", "--ckpt", "python:mine:Slow", "--limit", "12")
    alphabench.outside(*words, "--out", "plain")
    here = alphabench.folder / "stopped"
    with alphabench.start(*words, "--out", here, *on_ray(cluster), start_new_session=True) as run:
        wait_for_images(here, 4)
        run.send_signal(by)
        _, err = run.communicate(timeout=60)
    assert run.returncode == {2: 130, 15: 143, 9: -9}[by]
    assert "Traceback" not in err
    assert cluster.left_actors() == []
    assert 4 <= len(images(here)) < 48
    more = on_ray(cluster) if by == signal.SIGKILL else ()
    alphabench.outside(*words, "--out", here, *more)
    assert images(here) == images(alphabench.folder / "plain")


@pytest.mark.whole
def test_an_error_of_a_worker_is_one_sentence_and_leaves_no_actor(
    cluster: RayCluster, alphabench: Shell
) -> None:
    broken = SLOW.replace("time.sleep(0.3)", "raise RuntimeError('no such kernel')")
    (alphabench.folder / "mine.py").write_text(broken)
    words = ("generate", "geneval:mini", "--ckpt", "python:mine:Slow", "--limit", "12")
    said = alphabench.outside(*words, "--out", "broken", *on_ray(cluster), code=2)
    assert "RuntimeError: no such kernel" in said.err
    assert cluster.left_actors() == []


@pytest.mark.whole
def test_actors_take_a_gpu_each_and_a_lost_node_is_replaced_by_one_that_comes_later(
    cluster: RayCluster,
) -> None:
    node, notes, seen = cluster.add(gpus=2), list[str](), list[tuple[int, str, str]]()
    own_code = {"PYTHONPATH": str(Path(__file__).parents[2])}
    connected = connected_engine(cluster.address, devices=None, workers=None, environment=own_code)
    with connected as (engine, devices):
        assert devices == ("cuda:0", "cuda:0")
        outcomes = run_jobs(
            visible_gpu, range(40), devices=devices, batch_size=1, note=notes.append, engine=engine
        )
        for outcome in outcomes:
            assert isinstance(outcome, FinishedJob)
            seen.append(outcome.result)
            if len(seen) == 10:
                cluster.remove(node)
                node = cluster.add(gpus=1)
    assert sorted(job for job, _, _ in seen) == list(range(40))
    assert {(device, gpu) for _, device, gpu in seen} == {("cuda:0", "0"), ("cuda:0", "1")}
    assert len([one for one in notes if "another takes its work" in one]) == 2
    assert any("its node left the cluster" in one for one in notes)
    assert cluster.left_actors() == []
    cluster.remove(node)
