"""GenEval 2's published files, read and written as upstream's scripts at a6e82d2 do.

image_paths.json     {prompt: path of its image}, which evaluation.py takes
score_lists.json     [[score of each atom] of each prompt], in the order of the data
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import NoneType
from typing import Any, Final

from alphabench import statistics
from alphabench.benchmarks.geneval2 import scoring
from alphabench.benchmarks.geneval2.benchmark import atom_ids, official_prompts
from alphabench.benchmarks.geneval2.scoring import JudgedPrompt
from alphabench.benchmarks.reporting import published_scope
from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import UnreadableFileError, read_json
from alphabench.types import Report, Sample, Verdict
from alphabench.upstream.formats import HINT, OfficialFormat, read_official_json
from alphabench.upstream.layouts import FolderOptions, Layout, Listing, is_image_file, listing_of

IMAGES_FILE: Final = "image_paths.json"
SCORES_FILE: Final = "score_lists.json"
_SOFT, _HARD, _WHOLE = "soft_tifa_gm", "tifa", "vqascore"


def summarise_score_lists(path: Path, samples: Sequence[Sample]) -> Report:
    """What upstream's two scripts find in a file of score lists, or in a folder with one.

    The method is told by the scores: whole numbers are TIFA's, one score a prompt VQAScore's, all
    others Soft-TIFA's. `null` is an atom without a score, at which upstream's scripts stop.

    Raises:
        AlphaBenchError: no such file, or its lists do not fit the prompts.
    """
    file = path / SCORES_FILE if path.is_dir() else path
    lists = read_official_json(file)
    if not isinstance(lists, list) or not all(map(_is_score_list, lists)):
        raise AlphaBenchError(f"{str(file)!r} is no list of lists of scores", hint=HINT)
    if len(lists) != len(samples):
        raise AlphaBenchError(
            f"{str(file)!r} has scores of {len(lists)} prompts instead of {len(samples)}",
            hint="upstream matches them by position: give the scores of all prompts, in order",
        )
    method = _method_of(lists)
    prompts = []
    for sample, scores in zip(samples, lists, strict=True):
        skills = () if method == _WHOLE else tuple(sample.facts["skills"])
        if method != _WHOLE and len(scores) != len(skills):
            raise AlphaBenchError(
                f"{str(file)!r} has {len(scores)} scores of prompt {sample.id}, which has "
                f"{len(skills)} atoms",
                hint=HINT,
            )
        atomicity = sample.facts["atom_count"]
        prompts.append(
            JudgedPrompt(id=sample.id, atomicity=atomicity, skills=skills, scores=tuple(scores))
        )
    return _published_report(prompts, method)


def _published_report(prompts: Sequence[JudgedPrompt], method: str) -> Report:
    scope = published_scope("geneval2", method, *scoring.count_atoms(prompts))
    if method != _SOFT:
        return scoring.geneval2_report(prompts, scope, mean=scoring.arithmetic_mean)
    soft_am = scoring.mean_over_prompts(prompts, scoring.arithmetic_mean)
    return scoring.geneval2_report(prompts, scope, extras={"soft_tifa_am": soft_am})


def score_lists_text(report: Report) -> str:
    """What upstream prints: the score of evaluation.py, and soft_tifa_analysis.py's tables."""
    scores = {f"{_SOFT}: " if report.extras else "": report.headline}
    scores |= {f"{name}: ": extra for name, extra in report.extras.items()}
    lines = [
        f"{name}Score: {'none' if score.value is None else 100 * score.value}"
        for name, score in scores.items()
    ]
    if _WHOLE in report.evaluator:
        return "\n".join(lines)
    wanted = [*scoring.SKILLS, *(f"atomicity {atomicity}" for atomicity in scoring.ATOMICITIES)]
    means = {name: group.value for name, group in report.groups.items() if group.value is not None}
    if missing := [name for name in wanted if name not in means]:
        return "\n".join([*lines, "", f"No analysis: nothing is scored for {', '.join(missing)}."])
    lines += ["", "Per Atom Type Analysis (Soft-TIFA AM)"]
    for skill in scoring.SKILLS:
        lines += [f"{skill.capitalize()}:", _printed(means[skill])]
    lines += ["", "Per Atomicity Analysis (Soft-TIFA GM)"]
    for name in wanted[len(scoring.SKILLS) :]:
        lines += [f"Results for {name.capitalize().replace(' ', '=')}", _printed(means[name])]
    return "\n".join(lines)


def _printed(mean: float) -> str:
    return str(round(100 * mean, 2))


def geneval2_export_files(
    samples: Sequence[Sample], images: Mapping[str, Path], verdicts: Sequence[Verdict]
) -> Iterator[tuple[PurePosixPath, str | Path]]:
    """The images, the map that evaluation.py takes, and the score lists that it writes.

    Scores are the official ones. An atom without one is `null`: upstream's scripts stop there
    instead of taking the scores that follow for those of another atom.
    """
    files = {name.rpartition("/")[0]: path for name, path in images.items()}
    for name, path in files.items():
        yield PurePosixPath(f"{name}.png"), path
    paths = {sample.prompt: f"{sample.id}.png" for sample in samples if sample.id in files}
    yield PurePosixPath(IMAGES_FILE), json.dumps(paths, ensure_ascii=False, indent=1)
    scored = {
        (statistics.sample_of(one), one.question_id): one.number("official", one.value)
        for one in verdicts
        if one.value is not None
    }
    lists = [[scored.get((one.id, index)) for index in atom_ids(one)] for one in samples]
    yield PurePosixPath(SCORES_FILE), json.dumps(lists)


def _is_score_list(scores: Any) -> bool:
    if not isinstance(scores, list) or not {type(one) for one in scores} <= {int, float, NoneType}:
        return False
    return bool(scores) and all(one is None or 0 <= one < math.inf for one in scores)


def _method_of(lists: Sequence[Sequence[float | None]]) -> str:
    if all(len(scores) == 1 for scores in lists):
        return _WHOLE
    scores = [score for scores in lists for score in scores if score is not None]
    return _HARD if scores and all(isinstance(score, int) for score in scores) else _SOFT


def _find_images(root: Path, _: FolderOptions) -> Listing:
    """The images that `image_paths.json` names, by prompt; its paths start at its own folder."""
    try:
        paths = read_json(root / IMAGES_FILE)
    except UnreadableFileError:
        return {}
    if not isinstance(paths, dict) or not all(isinstance(path, str) for path in paths.values()):
        return {}
    found = ((prompt, 0, root / path) for prompt, path in paths.items())
    return listing_of(root, (one for one in found if is_image_file(one[2])))


def _key(sample: Sample) -> str:
    """The prompt; KeyError for a sample of another benchmark."""
    return sample.prompt if sample.facts["vqa_list"] else ""


OFFICIAL: Final = OfficialFormat(
    summarise=lambda path, data: summarise_score_lists(path, official_prompts(data)),
    text=score_lists_text,
    files=geneval2_export_files,
)
LAYOUT: Final = Layout(form="DIR/image_paths.json", find=_find_images, key=_key)
