"""OneIG-Bench: prompts in English and Chinese by what they test (Chang et al., 2025).

Four images a prompt. Alignment and text are measured; prompts for reasoning, which are used for
nothing else, are left out. The split `mini` is authored here over the project's synthetic scenes.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from alphabench import statistics
from alphabench.benchmarks import judged, mini_split
from alphabench.benchmarks.object_words import READ
from alphabench.benchmarks.oneig import questions, scoring
from alphabench.benchmarks.oneig.questions import BLACK, OWN, UNREAD, question_ids, text_to_write
from alphabench.benchmarks.oneig.scoring import IMAGES, TEXT, AlignedPrompt, WrittenPrompt
from alphabench.core.errors import AlphaBenchError
from alphabench.interfaces import Evaluator
from alphabench.judges.transcription import match_letters
from alphabench.questions import Judge
from alphabench.statistics import Cluster, Formula
from alphabench.types import ProtocolName, Report, Sample, Verdict, image_id
from alphabench.upstream import pin_of
from alphabench.upstream.csv_tables import read_csv_rows

PIN: Final = "oneig"
HINT: Final = "restore the file from its source: `alphabench fetch oneig`"
CATEGORIES: Final[Mapping[str, str]] = {
    "anime": "Anime_Stylization",
    "human": "Portrait",
    "object": "General_Object",
    "multilingualism": "Multilingualism",
    "text": "Text_Rendering",
}
"""Upstream's folders, and its names of the categories in the tables of prompts."""
PROMPTS: Final = {"zh": ("OneIG-Bench-ZH.csv", "prompt_cn"), "en": ("OneIG-Bench.csv", "prompt_en")}
"""The table of prompts of a language, and its column."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OneIG(judged.JudgedBenchmark):
    """One split of OneIG-Bench under one protocol."""

    about: ClassVar = judged.About(
        name="oneig",
        titles={
            "en": "OneIG-Bench, English: alignment and text",
            "zh": "OneIG-Bench, Chinese: alignment and text",
            "mini": "OneIG-Bench's rules over AlphaBench's synthetic scenes",
        },
        citation="arXiv:2506.07977",
        images=IMAGES,
    )

    def source(self) -> mini_split.DataSource:
        """The package, or upstream's files of the language."""
        if self.split == "mini":
            return mini_split.mini_source("oneig")
        pin, paths = pin_of(PIN), [PROMPTS[self.split][0], *self._files.values()]
        digests = "".join(pin.file(path).digest for path in paths)
        return mini_split.pinned_source(pin, digest=hashlib.sha256(digests.encode()).hexdigest())

    def samples(self) -> Sequence[Sample]:
        """The prompts by category, in the order of upstream's questions; ids: `anime_000`."""
        content = mini_split.mini_bytes("oneig")
        rows = judged.rows_of_lines(content, _is_prompt, where="oneig.jsonl")
        if self.split != "mini":
            rows = list(self._official_rows())
        return [
            Sample(
                id=f"{row['folder']}_{row['number']}",
                prompt=row["prompt"],
                group=row["folder"],
                facts=row,
            )
            for row in rows
        ]

    def questions(self, sample: Sample) -> Sequence[str]:
        """See `question_ids`."""
        return question_ids(sample)

    def judge_evaluator(self, spec: str | None, judge: Judge | None) -> Evaluator:
        """With a call for each question, or one for a text: `judge`, `judge?wording=own`."""
        is_own = judged.judge_options(spec, judged.WordingOptions, benchmark="oneig").is_own(
            self.split
        )
        texts = OWN if is_own else questions.official_texts(self.data)
        objects = is_own and self.split == "mini"
        return questions.open_oneig_judge(judge, texts, self.protocol, objects=objects)

    def clusters(self, samples: Sequence[Sample], verdicts: Sequence[Verdict]) -> list[Cluster]:
        """See `oneig_clusters`."""
        written = written_prompts(samples, verdicts, self.protocol)
        return scoring.oneig_clusters(aligned_prompts(samples, verdicts), written)

    def formula(self) -> Formula:
        """None: the parts are not combined."""
        return statistics.no_headline

    def report(self, run: judged.JudgedRun) -> Report:
        """See `oneig_report`; the protocols differ in how images are sent and replies read."""
        return scoring.oneig_report(
            aligned_prompts(run.samples, run.verdicts),
            written_prompts(run.samples, run.verdicts, self.protocol),
            run.scope,
            farthest=farthest_of(self.split),
            notes=_reading_notes(run.verdicts) if self.protocol == "official" else (),
        )

    @property
    def _files(self) -> dict[str, str]:
        """Upstream's folders, and the file with the questions or texts of each."""
        suffix = "_zh" if self.split == "zh" else ""
        asked = [name for name in CATEGORIES if suffix or name != "multilingualism"]
        files = {name: f"scripts/alignment/Q_D/{name}{suffix}.json" for name in asked}
        return files | {"text": f"scripts/text/text_content{suffix}.csv"}

    def _official_rows(self) -> Iterator[dict[str, Any]]:
        """AlphaBenchError where a file is not fetched, or is another."""
        where, column = PROMPTS[self.split]
        rows = read_csv_rows(
            self.data.read(PIN, where), ("category", "id", column), where=where, hint=HINT
        )
        prompts = {(row["category"], row["id"]): row[column] for row in rows}
        for folder, path in self._files.items():
            for number, facts in read_facts(self.data.read(PIN, path), path).items():
                prompt = prompts.get((CATEGORIES[folder], number))
                row = {"folder": folder, "number": number, "prompt": prompt, **facts}
                if not judged.fits(row, _is_prompt):
                    raise AlphaBenchError(f"{path!r} has no prompt {number!r}", hint=HINT)
                yield row


open_oneig: Final = OneIG.open


def farthest_of(split: str) -> float:
    """M of the text score."""
    return 50.0 if split == "zh" else 100.0


def read_facts(content: bytes, where: str) -> dict[str, dict[str, Any]]:
    """Number of a prompt -> its text, or its questions and the numbers that each depends on.

    Raises:
        AlphaBenchError: it is neither upstream's table of texts nor its JSON in JSON.
    """
    if where.endswith(".csv"):
        rows = read_csv_rows(content, ("id", "text_content"), where=where, hint=HINT)
        return {row["id"]: {"text": row["text_content"]} for row in rows}
    found = {}
    try:
        for number, row in judged.json_or_none(content).items():
            texts, above = (judged.json_or_none(row[key]) for key in ("question", "dependency"))
            ids = [str(place) for place in range(1, len(texts) + 1)]
            asked, parents = [texts[one] for one in ids], [above[one] for one in ids]
            found[number] = {"questions": asked, "dependency": parents}
    except (AttributeError, KeyError, TypeError) as error:
        raise AlphaBenchError(f"{where!r} holds no questions by prompt", hint=HINT) from error
    return found


def _is_prompt(row: Any) -> bool:
    """See `fits`."""
    texts, has_text = [row["folder"], row["number"], row["prompt"]], row["folder"] == "text"
    texts += [row["text"]] if has_text else row["questions"]
    if not all(isinstance(text, str) for text in texts):
        return False
    if has_text:
        return match_letters("", row["text"]).expected > 0
    parents = row["dependency"]
    return len(parents) == len(row["questions"]) > 0 and all(
        type(parent) is int for of in parents for parent in of
    )


def aligned_prompts(samples: Sequence[Sample], verdicts: Sequence[Verdict]) -> list[AlignedPrompt]:
    """The answers about prompts with questions, after dependencies; an unknown parent is none."""
    asked = [sample for sample in samples if "text" not in sample.facts]
    images: dict[str, list[scoring.Answers]] = {}
    for image in judged.values_by_image(asked, verdicts, question_ids, images=IMAGES):
        answers, parents = image.values, image.sample.facts["dependency"]
        above = [[parent - 1 for parent in of if 0 < parent <= len(answers)] for of in parents]
        counted = scoring.counted_answers(answers, above)
        images.setdefault(image.sample.id, []).append(counted)
    return [
        AlignedPrompt(sample_id=one.id, folder=one.group, images=tuple(images[one.id]))
        for one in asked
    ]


def written_prompts(
    samples: Sequence[Sample], verdicts: Sequence[Verdict], protocol: ProtocolName
) -> list[WrittenPrompt]:
    """What was read of each text.

    official: where all four images of a prompt are black, upstream's script goes on with the
    replies about the prompt before it and compares them with this text (text_score.py, after
    `= None`); at the first prompt it stops, which here has no value.
    """
    known = {one.image_id: one for one in verdicts if one.question_id == TEXT}
    prompts, before = [], list[str]()
    for sample in (one for one in samples if "text" in one.facts):
        text = text_to_write(sample.facts, strict=protocol == "strict")
        words = match_letters("", text).expected
        about = [known.get(image_id(sample.id, index)) for index in range(IMAGES)]
        scored = [one for one in about if one is not None and one.value is not None]
        found = [(round((one.value or 0.0) * words), one.number("distance")) for one in scored]
        if scored:
            before = [str(one.detail.get(READ, "")) for one in scored]
        elif protocol == "official" and all(one and one.detail.get(BLACK) for one in about):
            stale = [match_letters(read, text) for read in before]
            found = [(one.matched, float(one.distance)) for one in stale]
        prompts.append(
            WrittenPrompt(
                sample_id=sample.id,
                words=words,
                n_images=IMAGES,
                n_read=len(found),
                distance=sum(distance for _, distance in found),
                exact=float(sum(distance == 0 for _, distance in found)),
                matched=float(sum(matched for matched, _ in found)),
            )
        )
    return prompts


def _reading_notes(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """What the official reading made of replies and images."""
    if n_unread := sum(bool(one.detail.get(UNREAD)) for one in verdicts):
        yield f"{n_unread} replies are neither `Yes` nor `No`, and count as no as upstream's"
    black = (one for one in verdicts if one.question_id == TEXT and one.detail.get(BLACK))
    n_black = sum(n == IMAGES for n in Counter(map(statistics.sample_of, black)).values())
    if n_black:
        yield (
            f"{n_black} texts have four black images: the replies about the prompt before count "
            "for them, as in upstream's script"
        )
