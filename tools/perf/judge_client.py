"""Measures the client of remote judges against a local server, and prints ratios as JSON lines.

    python tools/perf/judge_client.py            throughput, about half a minute
    python tools/perf/judge_client.py --memory   also 100,000 questions, some minutes

The server answers after 100 ms and bears 32 requests at once, so that 320 questions a second are
the limit. It runs in a process of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from alphabench.judges.answer_cache import AnswerCache
from alphabench.judges.cached_judge import CachedJudge
from alphabench.judges.openai.judge import OpenAIJudge, open_openai
from alphabench.judges.yesno import YesNoProbability, yes_no_question
from alphabench.questions import Judge, Question

LATENCY_SECONDS, PARALLEL, N_QUESTIONS = 0.1, 32, 2000
SERVER = Path(__file__).parents[2] / "tests" / "support" / "judge_server.py"
CONTRACT = YesNoProbability()


def main() -> None:
    """Print one line for each measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    cases: dict[str, tuple[list[str], dict[str, str]]] = {
        "server refuses more than 32": ([], {}),
        "server queues more than 32": (["--queue"], {}),
        "client is told of the 32": ([], {"concurrency": "32"}),
        "refuses, and 40 in a row after every 400 answers": (
            ["--burst-every", "400", "--burst-length", "40"], {},
        ),
        "the same, with Retry-After: 0.1": (
            ["--burst-every", "400", "--burst-length", "40", "--retry-after", "0.1"], {},
        ),
    }  # fmt: skip
    for name, (server, client) in cases.items():
        for _ in range(options.repeats):
            _say(case=name, **throughput(server, client))
    if options.memory:
        for line in memory():
            _say(**line)


def throughput(server_options: list[str], options: dict[str, str]) -> dict[str, object]:
    """Questions a second over the limit, with what the server saw."""
    words = ["--latency", str(LATENCY_SECONDS), "--parallel", str(PARALLEL), *server_options]
    with served(words) as port:
        judge = opened(port, options)
        began, cpu = time.perf_counter(), time.process_time()
        scored = sum(a.status == "scored" for a in judge.ask(_questions(N_QUESTIONS)))
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        stats = httpx.get(f"http://127.0.0.1:{port}/stats").json()
    assert scored == N_QUESTIONS
    assert stats["twice"] == 0, "a question was answered twice"
    assert stats["answered"] == N_QUESTIONS
    ratio = N_QUESTIONS / seconds / (PARALLEL / LATENCY_SECONDS)
    return {
        "ratio_of_limit": round(ratio, 3),
        "seconds": round(seconds, 2),
        "client_cpu_seconds": round(cpu, 2),
        "refused": stats["calls"] - stats["answered"],
        "answered_twice": stats["twice"],
    }


def memory() -> Iterator[dict[str, object]]:
    """Resident memory at 10,000 and at 100,000 questions, with the cache on disk."""
    with served(["--latency", "0"]) as port, tempfile.TemporaryDirectory() as folder:
        judge: Judge = CachedJudge(judge=opened(port, {}), cache=AnswerCache(Path(folder)))
        for known in ("asked", "from the cache"):
            marks = {}
            began = time.perf_counter()
            for number, answer in enumerate(judge.ask(_questions(100_000)), start=1):
                assert answer.status == "scored"
                if number in (10_000, 100_000):
                    marks[number] = resident_mib()
            yield {
                "case": f"100,000 questions, {known}",
                "mib_at_10000": marks[10_000],
                "mib_at_100000": marks[100_000],
                "growth_mib": round(marks[100_000] - marks[10_000], 1),
                "seconds": round(time.perf_counter() - began, 1),
            }


def _questions(count: int) -> Iterator[Question]:
    """All different; ten about each image."""
    for number in range(count):
        yield yes_no_question(
            f"Is this number {number}?",
            [],
            image_id=f"{number // 10:06d}/0",
            question_id=str(number % 10),
            answer_format=CONTRACT,
        )


def opened(port: int, options: dict[str, str]) -> OpenAIJudge:
    """The judge as the command line opens it."""
    return open_openai(f"http://127.0.0.1:{port}/v1#test-vlm", options=options, device="cpu")


@contextlib.contextmanager
def served(options: list[str]) -> Iterator[int]:
    """The server's port."""
    command = [sys.executable, str(SERVER), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            server.terminate()


def resident_mib() -> float:
    """Of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)


def _say(**fields: object) -> None:
    """One JSON line."""
    print(json.dumps(fields), flush=True)


if __name__ == "__main__":
    main()
