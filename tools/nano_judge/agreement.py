"""Whether two ways of running a judge say the same: P(yes) to held-out questions, by each.

    python -m tools.nano_judge.agreement draw FOLDER --questions 500
    python -m tools.nano_judge.agreement ask FOLDER nano
    VLLM_PYTHON -m tools.nano_judge.agreement ask FOLDER vllm:bench/alphabench/nano/judge
    python -m tools.nano_judge.agreement compare FOLDER

`ask` runs in any interpreter that has the judge's library; options of the judge follow its name.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from alphabench.judges import open_judge
from alphabench.judges.yesno import YesNoProbability, yes_no_question
from alphabench.questions import ImagePart
from alphabench.runs.store import sha256_of
from tools.nano_judge import scene_images
from tools.nano_judge.questions import questions
from tools.nano_judge.view import View

_WORLDS = ("small", "common", "wide")
_HELD_OUT = 950
_PER_PICTURE = 5


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verb", choices=["draw", "ask", "compare"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("judge", nargs="?", default="nano")
    parser.add_argument("--questions", type=int, default=500)
    chosen = parser.parse_args()
    if chosen.verb == "draw":
        draw_questions(chosen.folder, chosen.questions)
    elif chosen.verb == "ask":
        ask(chosen.folder, chosen.judge)
    else:
        print(_compare(chosen.folder))


def draw_questions(folder: Path, count: int) -> None:
    """Pictures of all worlds, and `questions.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    index = 0
    while len(rows) < count:
        pixels, _, shown = scene_images.made_scene_image(_WORLDS[index % 3], _HELD_OUT, index)
        name = f"{index:04}.png"
        Image.fromarray(pixels).save(folder / name)
        rng = np.random.default_rng([67, index])
        rows += [
            {"picture": name, "text": one.text, "truth": one.truth}
            for one in questions(View(shown), _PER_PICTURE, rng)
        ]
        index += 1
    (folder / "questions.json").write_text(json.dumps(rows[:count]), encoding="utf-8")


def ask(folder: Path, spec: str) -> None:
    """Writes the judge's P(yes) to `KIND.json`."""
    rows = json.loads((folder / "questions.json").read_text(encoding="utf-8"))
    answer_format = YesNoProbability()
    put = []
    for number, row in enumerate(rows):
        path = folder / row["picture"]
        picture = ImagePart(path=path, sha256=sha256_of(path))
        put.append(
            yes_no_question(
                row["text"], [picture], image_id=path.stem, question_id=str(number),
                answer_format=answer_format,
            )
        )  # fmt: skip
    judge = open_judge(spec, options={"handshake": "off"})
    said = [None if a.values is None else a.values[0] for a in judge.ask(put)]
    kind = spec.partition(":")[0].partition("?")[0]
    (folder / f"{kind}.said.json").write_text(json.dumps(said), encoding="utf-8")


def _compare(folder: Path) -> str:
    """Of every two that were asked: the mean and greatest difference, and the share that flips."""
    rows = json.loads((folder / "questions.json").read_text(encoding="utf-8"))
    truth = np.array([row["truth"] for row in rows])
    said = {
        path.name.partition(".")[0]: np.array(json.loads(path.read_text(encoding="utf-8")), float)
        for path in sorted(folder.glob("*.said.json"))
    }
    lines = [
        f"{name}: {np.isnan(p).sum()} unread, accuracy {np.mean((p > 0.5) == truth):.3f}"
        for name, p in said.items()
    ]
    names = list(said)
    for at, one in enumerate(names):
        for other in names[at + 1 :]:
            apart = np.abs(said[one] - said[other])
            flips = np.mean((said[one] > 0.5) != (said[other] > 0.5))
            lines.append(
                f"{one} and {other}: mean |dP(yes)| {np.nanmean(apart):.4f}, "
                f"greatest {np.nanmax(apart):.4f}, other word {flips:.3f}, {len(apart)} questions"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
