"""Judges' answers that the version before the restructuring stored are found, and none is repeated.

No reply is requested again from an endpoint that was paid for it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.compatibility.conftest import HERE, Commands, copied
from tests.compatibility.recording import verdicts
from tests.support.judge_server import JudgeServer, error, serving


def test_a_run_is_scored_from_the_answers_of_that_version_without_a_request(
    alphabench: Commands,
) -> None:
    run = copied("run_folder/dpg", alphabench.folder / "dpg")
    for name in ("verdicts", "reports"):
        shutil.rmtree(run / name)
    stored = copied("answer_cache/answers", alphabench.folder / "cache" / "answers")
    before = sizes(stored)
    with serving(JudgeServer(lambda _: error(500))) as server:
        alphabench("score", run, "--judge", f"{server.spec}?handshake=off")
    assert server.n_calls == server.n_controls == 0
    assert sizes(stored) == before
    found = {
        f"{row['verdict']['image_id']} {row['verdict']['question_id']}": row["verdict"]["value"]
        for row in verdicts(run)
    }
    assert found == json.loads((HERE / "answer_cache" / "verdicts.json").read_text())


def sizes(folder: Path) -> dict[str, int]:
    """Bytes of each file of replies."""
    return {path.name: path.stat().st_size for path in folder.glob("replies-*.jsonl")}
