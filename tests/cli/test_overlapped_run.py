"""`run`, which asks its judge while it generates, against `generate` followed by `score`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from alphabench.runs.store import RunFolder
from tests.cli.conftest import Shell
from tests.support.judge_server import Call, JudgeServer, Say, error, serving

PRICES = "handshake=off&price_in=1&price_out=2"


def answering(call: Call) -> Say:
    """By content; some questions it never answers well."""
    kind = sum(call.text.encode()) % 11
    if kind == 0:
        return error(400, "not this one")
    return Say(text="a riddle" if kind == 1 else "Yes" if kind % 2 else "No")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def contents(root: Path) -> dict[str, Any]:
    """All that a run folder holds, without times and with rows in one order."""
    folder = RunFolder.open(root)
    (evaluation,) = folder.evaluations()
    images = [{**row, "seconds": 0} for row in lines(root / "images.jsonl")]
    verdicts = lines(root / "verdicts" / f"{evaluation}.jsonl")
    return {
        "files": {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.png")},
        "images": sorted(images, key=json.dumps),
        "verdicts": sorted(verdicts, key=json.dumps),
        "identity": folder.evaluation_identity(evaluation),
        "report": json.loads((root / "reports" / f"{evaluation}.json").read_text()),
    }


def answers(cache: Path) -> list[str]:
    found = [lines(path) for path in (cache / "answers").glob("*.jsonl")]
    return sorted(json.dumps({**row, "at": ""}) for rows in found for row in rows)


def test_a_run_finds_stores_and_pays_what_generate_and_score_do(tmp_path: Path) -> None:
    one, other = (Shell(folder=tmp_path, cache=tmp_path / name) for name in ("one", "other"))
    with serving(JudgeServer(answering)) as server:
        judge = ("--judge", f"{server.spec}?{PRICES}")
        words = ("dpg:mini", "--ckpt", "scene:?error=0.3", "--limit", "9", "--out")
        whole = one("run", *words, "whole", *judge, code=1)
        asked = server.n_calls
        other("generate", *words, "parts")
        parts = other("score", "parts", *judge, code=1)
        assert server.n_calls == 2 * asked
    found = contents(tmp_path / "whole")
    assert found == contents(tmp_path / "parts")
    assert found["report"]["statuses"].keys() == {"scored", "failed", "unparsed"}
    assert answers(one.cache) == answers(other.cache) != []
    spent = [line for line in whole.out.splitlines() if line.startswith("judge:")]
    assert spent
    assert set(spent) <= set(parts.out.splitlines())
