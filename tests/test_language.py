"""One language: words that docs/glossary.md replaces occur nowhere in the code or the documents."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
REPLACED = re.compile(
    r"\b(picture|pictures|drawn|draws|painter|studio|workshop|examiner|settle|mend)\b",
    re.IGNORECASE,
)
FOLDERS = ("bench", "alphagrpo", "trainers", "docs")
FILES = [
    ROOT / "README.md",
    *(
        path
        for folder in FOLDERS
        for pattern in ("*.py", "*.md")
        for path in sorted((ROOT / folder).rglob(pattern))
    ),
]
MODEL_VISIBLE = "texts that a model reads: another word is another measurement"
STORED = "keys and names of stored files, which older versions wrote"
KEPT = {
    "alphagrpo/dvreward/any_benchmark.py": MODEL_VISIBLE,
    "alphagrpo/dvreward/decompose.py": STORED,
    "alphagrpo/dvreward/decomposer_templates.py": MODEL_VISIBLE,
    "alphagrpo/dvreward/dvreward_commands.py": STORED,
    "alphagrpo/dvreward/prompt_sources.py": MODEL_VISIBLE,
    "alphagrpo/dvreward/verification.py": MODEL_VISIBLE,
    "alphagrpo/holistic.py": MODEL_VISIBLE,
    "alphagrpo/rewards/reflection_judge.py": MODEL_VISIBLE,
    "alphagrpo/rewards/text_rewards.py": "words that a thought may share with any prompt",
    "bench/alphabench/benchmarks/gedit/benchmark.py": STORED,
    "bench/alphabench/benchmarks/gedit/dataset.py": STORED,
    "bench/alphabench/benchmarks/gedit/viescore.py": MODEL_VISIBLE,
    "bench/alphabench/benchmarks/wise/questions.py": MODEL_VISIBLE,
    "bench/alphabench/judges/handshake.py": MODEL_VISIBLE,
    "bench/alphabench/judges/refusals.py": "words by which judges refuse",
    "bench/alphabench/judges/transformers.py": MODEL_VISIBLE,
    "bench/alphabench/models/bagel/sampling_config.py": MODEL_VISIBLE,
    "bench/alphabench/runs/refinement.py": STORED,
    "bench/alphabench/scenes/descriptions.py": MODEL_VISIBLE,
    "bench/alphabench/scenes/scene_questions.py": MODEL_VISIBLE,
    "bench/alphabench/nano/judge/README.md": "a type of question is called `drawn`",
    "trainers/alphatrainers/reporting/old_metric_names.py": STORED,
    "docs/glossary.md": "names the words that it replaces, and what rendering is called",
}
"""Files that need one of these words, and why."""


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_uses_the_glossarys_words(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    lines = [
        f"{name}:{number}: {line.strip()}"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if REPLACED.search(line)
    ]
    if name in KEPT:
        assert lines, f"{name} no longer needs to be an exception"
    else:
        assert not lines, "docs/glossary.md says which word to use:\n" + "\n".join(lines)
