"""`alphabench run` of the judged benchmarks over the drawn world, by judges that know the truth."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from alphabench.benchmarks import open_benchmark
from alphabench.checkpoints.scene import open_scene
from alphabench.runs.plan import requests_for
from alphabench.runs.store import RunFolder
from alphabench.types import Verdict
from alphabench.upstream import UpstreamData
from tests.cli.conftest import Shell
from tests.support.judge_server import Call, JudgeServer, Say, error, serving
from tests.support.truth import replies, scores

JUDGED = (
    "tiif", "dpg", "geneval2", "corebench", "cvtg", "longtext", "oneig", "unigenbench",
    "wise",
    "gedit", "imgedit", "rise", "dvreward",
)  # fmt: skip
MAXIMUM = dict.fromkeys(JUDGED, 1.0) | {"gedit": 10.0, "imgedit": 5.0}
NO_HEADLINE = ("oneig",)
"""Those whose parts are not combined: here their first group stands for it."""
KEY = "sk-a-key-that-nobody-may-ever-find-anywhere-0123456789"
THEIRS = {"tiif": "eval_results", "dpg": "results.txt", "imgedit": "average_score.json"}
"""What `summarise --official` is pointed at, below an export."""
FAIL = {"rise": "0.7"}
"""Share of the questions that meet a fault, where not 0.3: so that each kind is met."""
DETAIL = {"semantics": 0.0, "quality": 0.0, "distance": 0.0}
"""What GEdit-Bench and OneIG-Bench keep beside a value; not looked at here."""


@pytest.fixture
def here(alphabench: Shell) -> Shell:
    """Judged in this process, where the scripted judges are."""
    return alphabench


def truth_of(name: str, cache: Path, *, error: str) -> dict[tuple[str, str], float]:
    """(image, verdict) -> its value, from what `scene:` draws."""
    benchmark = open_benchmark(f"{name}:mini", data=UpstreamData(cache_dir=cache))
    checkpoint = open_scene("", options={"error": error})
    requests = requests_for(benchmark.samples(), benchmark.card.images_per_sample, seed=0)
    return {
        (request.id, verdict): value
        for request in requests
        for verdict, value in scores(
            name, request.sample, replies(name, checkpoint, request)
        ).items()
    }


def verdicts_in(run: Path) -> dict[tuple[str, str], Verdict]:
    """The newest of each verdict."""
    folder = RunFolder.open(run)
    (evaluation,) = folder.evaluations()
    stored = [one.verdict for one in folder.verdicts(evaluation)]
    return {(verdict.image_id, verdict.question_id): verdict for verdict in stored}


def headline_of(name: str, cache: Path, values: dict[tuple[str, str], float]) -> float | None:
    benchmark = open_benchmark(f"{name}:mini", data=UpstreamData(cache_dir=cache))
    verdicts = [
        Verdict(image_id=image, question_id=question, value=value, status="scored", detail=DETAIL)
        for (image, question), value in values.items()
    ]
    samples = benchmark.samples()
    report = benchmark.summarise(samples, verdicts, evaluator="judge", all_samples=samples)
    first = next(iter(report.groups.values()))
    return (first if name in NO_HEADLINE else report.headline).value


def score_in(name: str, report: Any) -> float:
    first = next(iter(report["groups"].values()))
    score: float = (first if name in NO_HEADLINE else report["headline"])["value"]
    return score


def values_of(report: Any) -> dict[str, float]:
    return {name: figure["value"] for name, figure in report["groups"].items()}


def judge_spec(name: str, **options: object) -> str:
    given = {"benchmark": f"{name}:mini", **options}
    words = "&".join(f"{key}={value}" for key, value in given.items())
    return f"python:tests.support.truthful:factory?{words}"


def asked_in(log: Path) -> list[tuple[str, str, int, str]]:
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [(image, question, repeat, status) for image, question, repeat, status in lines]


@pytest.mark.parametrize("name", JUDGED)
def test_true_scenes_judged_truly_have_full_marks(here: Shell, name: str) -> None:
    words = ("run", f"{name}:mini", "--ckpt", "scene:", "--out", "run", "--json")
    found = here(*words, "--judge", judge_spec(name)).json
    assert score_in(name, found) == MAXIMUM[name]
    assert (found["headline"]["value"] is None) == (name in NO_HEADLINE)
    assert {group["value"] for group in found["groups"].values()} == {MAXIMUM[name]}
    assert (found["coverage"], found["partial"]) == (1.0, False)
    assert found["headline"]["n_scored"] == found["headline"]["n_expected"] > 0


@pytest.mark.parametrize("name", JUDGED)
def test_planted_errors_cost_what_they_are_and_faults_cost_nothing_but_coverage(
    here: Shell, name: str
) -> None:
    truth = truth_of(name, here.folder / "cache", error="0.5")
    words = ("run", f"{name}:mini", "--ckpt", "scene:?error=0.5", "--out", "run", "--json")
    kept = {"error": "0.5", "cache": "true", "reask_unread": "true"}

    spec = judge_spec(name, **kept, fail=FAIL.get(name, "0.3"), log="first")
    faulty = here(*words, "--judge", spec, code=1).json
    stored = verdicts_in(here.folder / "run")
    assert stored.keys() == truth.keys()
    assert all(one.value in (None, truth[key]) for key, one in stored.items())
    statuses = Counter(one.status for one in stored.values())
    assert faulty["statuses"] == statuses
    assert {"scored", "failed", "refused"} <= statuses.keys()
    assert faulty["coverage"] < 1.0
    asked = asked_in(here.folder / "first")
    assert {"scored", "failed", "refused", "unparsed"} == {status for *_, status in asked}

    found = here(*words, "--judge", judge_spec(name, **kept, log="second")).json
    assert {key: one.value for key, one in verdicts_in(here.folder / "run").items()} == truth
    lacking = dict.fromkeys((image, question) for image, question, _, _ in asked)
    for image, question, _, status in asked:
        if status == "scored":
            del lacking[image, question]
    again = [(image, question) for image, question, _, _ in asked_in(here.folder / "second")]
    assert sorted(again) == sorted(lacking)
    value = score_in(name, found)
    assert value == headline_of(name, here.folder / "cache", truth)
    assert 0.2 * MAXIMUM[name] < value < 0.95 * MAXIMUM[name]
    assert found["statuses"] == {"scored": len(truth)}
    low, high = faulty["bounds"] or (0.0, MAXIMUM[name])
    assert low <= value <= high
    assert (faulty["bounds"] is None) == (name in NO_HEADLINE)

    if name in THEIRS:
        here("summarise", "run", "--export", "theirs")
        path = here.folder / "theirs" / THEIRS[name]
        official = here("summarise", name, "--official", path, "--json").json
        assert official["headline"]["value"] == pytest.approx(value, abs=1e-12)
        assert values_of(official) == values_of(found)


def evil(call: Call) -> Say:
    """Echoes the key in every way, with what no page may take for its own."""
    if call.number % 7 == 3:
        return error(400, f"no model for {KEY}", code=f"Bearer {KEY}")
    if call.number % 7 == 5 and call.nth == 0:
        return error(500, f"wrong key {KEY}")
    if call.number % 7 == 6:
        return Say(text=f"<script>alert(1)</script>\r\n\0\x1b[31m{KEY} " + "x" * 100_000)
    return Say(text="Yes", fields={"system_fingerprint": KEY, "id": KEY})


def test_no_file_and_no_word_of_a_run_holds_the_key(
    here: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALPHABENCH_API_KEY", KEY)
    with serving(JudgeServer(evil)) as server:
        said = here(
            "run", "tiif:mini", "--ckpt", "scene:", "--limit", "12", "--out", "run",
            "--judge", f"{server.url}#test-vlm?handshake=off", code=1,
        )  # fmt: skip
        assert server.calls[0].headers["authorization"] == f"Bearer {KEY}"
    here("summarise", "run", "--export", "theirs", code=1)
    files = [path for path in here.folder.rglob("*") if path.is_file()]
    assert {"report.md", "gallery.html", "manifest.json"} <= {path.name for path in files}
    assert [path for path in files if path.parent.name == "answers"]
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []
    assert KEY not in said.out + said.err
    statuses = Counter(one.status for one in verdicts_in(here.folder / "run").values())
    assert {"scored", "failed", "unparsed"} == statuses.keys()
    page = (here.folder / "run" / "gallery.html").read_text()
    assert "<script>alert" not in page
    assert len(page) < 3_000_000


class Holding:
    """Answers by content; from the `limit`-th question on, not at all while it is set."""

    limit: int | None = None

    def __call__(self, call: Call) -> Say:
        late = self.limit is not None and call.number >= self.limit
        return Say(text="no" if len(call.text) % 3 else "yes", seconds=3600.0 if late else 0.0)


def n_kept(cache: Path) -> int:
    files = (cache / "answers").glob("*.jsonl")
    return sum(path.read_bytes().count(b"\n") for path in files)


def test_killed_while_judging_a_run_asks_nothing_twice_and_ends_the_same(alphabench: Shell) -> None:
    words = ("run", "dpg:mini", "--ckpt", "scene:?error=0.3", "--limit", "7", "--json")
    script = Holding()
    with serving(JudgeServer(script)) as server:
        judge = ("--judge", f"{server.url}#test-vlm?handshake=off")
        for limit in (20, 60):
            script.limit = limit
            process = alphabench.start(*words, *judge, "--out", "run")
            while n_kept(alphabench.cache) < limit:
                assert process.poll() is None
                time.sleep(0.02)
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
            # What it had under way was answered by nobody: its number is free again.
            server.n_calls = limit
        script.limit = None
        resumed = alphabench(*words, *judge, "--out", "run").report
        assert max(server.answered.values()) == 1
        n_asked = sum(server.answered.values())
        undisturbed = alphabench(*words, *judge, "--no-cache", "--out", "other").report
        assert sum(server.answered.values()) == 2 * n_asked
    assert resumed == undisturbed
    assert resumed["headline"]["n_scored"] == resumed["headline"]["n_expected"]
    pages = [(alphabench.folder / run / "report.md").read_text() for run in ("run", "other")]
    figures = [text.partition("## What could not be scored")[0] for text in pages]
    assert figures[0] == figures[1]
    assert "## Groups" in figures[0]
