"""Writes `bench/alphabench/models/mplug/probe.json` from modelscope's own code.

    python -m tools.reference.make_mplug_probe --python ENV/bin/python

ENV is an environment with modelscope 1.40.2 (docs/official_scorers.md says how to make one). The
file holds, for a few questions about one image, the token ids, the words of the official best
beam, and every tenth logit behind them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import alphabench.models.mplug
from alphabench.models.mplug.build_probe import EVERY, FILE, PROBE, probe_image
from alphabench.models.mplug.tokenizer import load_tokenizer
from tests.support.tiny_mplug import questions_for, save_mplug
from tools.reference.mplug_image_sides import ORACLE, WORKER

QUESTIONS = 4


def rounded(logits_TV: NDArray[np.float32]) -> list[list[float]]:
    """Six digits, which is less than float32 holds and more than the bound needs."""
    return [[round(float(value), 6) for value in row] for row in logits_TV]


def main() -> int:
    """Ask the official code and keep what it says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", type=Path, required=True, help="interpreter with modelscope")
    interpreter: Path = parser.parse_args().python
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        folder = save_mplug(work / "model")
        probe_image().save(work / "noise.png")
        questions = questions_for(0, QUESTIONS)
        requests = [
            {"image": str(work / "noise.png"), "box": None, "question": question}
            for question in questions
        ]
        (work / "requests.json").write_text(json.dumps(requests), encoding="utf-8")
        words = [str(interpreter), str(ORACLE), "--worker", str(WORKER), "--model", str(folder)]
        words += ["--requests", str(work / "requests.json"), "--out", str(work)]
        subprocess.run([*words, "--logits", str(QUESTIONS), "--any-width"], check=True)
        lines = (work / "replies.jsonl").read_text(encoding="utf-8").splitlines()
        vocabulary = load_tokenizer(folder, vocab_size=PROBE.text.vocab_size)
        cases = [
            {
                "tokens": vocabulary.encode([question]).token_QT[0].tolist(),
                "answer": json.loads(line)["words"][1:],
                "text": json.loads(line)["answer"],
                "logits": rounded(np.load(work / f"{number:04d}.npy")[:, ::EVERY]),
            }
            for number, (question, line) in enumerate(zip(questions, lines, strict=True))
        ]
    path = Path(alphabench.models.mplug.__path__[0]) / FILE
    path.write_text(json.dumps(cases) + "\n", encoding="utf-8")
    print(f"wrote {path.name}: {path.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
