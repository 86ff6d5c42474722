"""Scores one run by judges that fail in each known way, once and for ever, and compares.

    python -m tools.faults.judge_chaos                                  every way, both modes
    python -m tools.faults.judge_chaos --ways 500,silence --share 0.5

For each way a share of the questions, chosen by their content, meets it at the first try, or at
each. What no fault met must be scored as by a judge that never fails; what met one must end as
`tests/support/judge_faults.py` says, in exact numbers; no good answer may be asked for twice; and
there must be a report and the right exit code. Prints a line a case; exit code 1 where anything
differed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from alphabench.runs.store import RunFolder
from tests.support.judge_faults import WAYS, Chaos
from tests.support.judge_server import JudgeServer, serving

Verdicts = dict[tuple[str, str], tuple[str, float | None]]


def main() -> int:
    """Every case in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ways", default="", help="some, with commas between; all by default")
    parser.add_argument("--share", type=float, default=0.3)
    parser.add_argument("--limit", default="24")
    parser.add_argument(
        "--options",
        default="handshake=protocol&timeout_seconds=10&attempts=2&patience_seconds=4",
        help="of the judge",
    )
    options = parser.parse_args()
    names = options.ways.split(",") if options.ways else list(WAYS)
    with tempfile.TemporaryDirectory(prefix="judge-chaos-") as folder:
        work = Path(folder)
        with serving(JudgeServer(Chaos(ways=[], share=0.0))) as server:
            words = ["tiif:mini", "--ckpt", "scene:?error=0.3", "--limit", options.limit]
            judge = ["--judge", f"{server.spec}?{options.options}", "--no-cache"]
            command(work, "run", *words, "--out", work / "clean", *judge)
        clean = verdicts_in(work / "clean")
        n_wrong = 0
        for name in names:
            for always in (False, True):
                chaos = Chaos(ways=[name], share=options.share, always=always)
                case = one_case(work, clean, chaos, options.options)
                n_wrong += bool(case["wrong"])
                print(json.dumps({"way": name, "always": always, **case}), flush=True)
    print(json.dumps({"cases": 2 * len(names), "wrong": n_wrong, "verdicts_each": len(clean)}))
    return 1 if n_wrong else 0


def one_case(work: Path, clean: Verdicts, chaos: Chaos, options: str) -> dict[str, object]:
    """What became of one run; `wrong` lists what should have been otherwise."""
    run, began = work / "run", time.monotonic()
    shutil.rmtree(run, ignore_errors=True)
    shutil.rmtree(work / "cache", ignore_errors=True)
    shutil.copytree(work / "clean", run)
    for left in ("verdicts", "reports", "evaluations"):
        shutil.rmtree(run / left, ignore_errors=True)
    (run / "report.md").unlink()
    with serving(JudgeServer(chaos)) as server:
        done = command(work, "score", run, "--judge", f"{server.spec}?{options}")
    found, expected = verdicts_in(run), chaos.fates
    del expected["scored"]
    lost = Counter(
        status for key, (status, value) in found.items() if (status, value) != clean[key]
    )
    wrong = {
        "verdicts": len(found) != len(clean),
        "counts": dict(lost) != dict(expected),
        "asked twice": max(server.answered.values()) > 1,
        "no report": not (run / "report.md").exists(),
        "exit code": done.returncode != (1 if expected else 0),
        "traceback": "Traceback" in done.stderr,
    }
    return {
        "met": len(chaos.met),
        "ended": dict(lost),
        "calls": server.n_calls,
        "controls": server.n_controls,
        "exit_code": done.returncode,
        "seconds": round(time.monotonic() - began, 1),
        "wrong": [what for what, is_so in wrong.items() if is_so],
    }


def verdicts_in(run: Path) -> Verdicts:
    """The newest of each; none where nothing was scored."""
    folder = RunFolder.open(run)
    return {
        (one.verdict.image_id, one.verdict.question_id): (one.verdict.status, one.verdict.value)
        for evaluation in folder.evaluations()
        for one in folder.verdicts(evaluation)
    }


def command(work: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """One command line to its end, with a cache of its own."""
    environment = {**os.environ, "ALPHABENCH_CACHE": str(work / "cache"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "alphabench", *map(str, words)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


if __name__ == "__main__":
    sys.exit(main())
