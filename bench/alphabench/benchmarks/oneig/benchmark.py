"""OneIG-Bench: prompts in English and Chinese by what they test (Chang et al., 2025).

Four images a prompt. Alignment and text are measured; prompts for reasoning, which are used for
nothing else, are left out. The split `mini` is authored here over the project's synthetic scenes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

from alphabench import statistics
from alphabench.benchmarks import judged, mini_split, text_accuracy
from alphabench.benchmarks.answered_images import answered_images
from alphabench.benchmarks.oneig import questions, scoring
from alphabench.benchmarks.oneig.questions import BLACK, UNREAD, question_ids
from alphabench.benchmarks.oneig.scoring import IMAGES
from alphabench.benchmarks.text_accuracy import TEXT
from alphabench.core.errors import AlphaBenchError
from alphabench.interfaces import Evaluator
from alphabench.judges.transcription import match_letters
from alphabench.questions import Judge
from alphabench.statistics import Cluster, Formula, sample_of
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
FARTHEST: Final = {"en": 100.0, "zh": 50.0, "mini": 100.0}
"""By split: M of the text score."""


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
        paths = [PROMPTS[self.split][0], *self._files.values()]
        return mini_split.pinned_files_source(pin_of(PIN), paths=paths)

    def samples(self) -> Sequence[Sample]:
        """The prompts by category, in the order of upstream's questions; ids: `anime_000`."""
        is_mini = self.split == "mini"
        rows = judged.mini_rows("oneig", _is_prompt) if is_mini else self._official_rows()
        named = ((f"{row['folder']}_{row['number']}", row) for row in rows)
        return [Sample(id=n, prompt=r["prompt"], group=r["folder"], facts=r) for n, r in named]

    def questions(self, sample: Sample) -> Sequence[str]:
        """See `question_ids`."""
        return question_ids(sample)

    def judge_evaluator(self, spec: str | None, judge: Judge | None) -> Evaluator:
        """With a call for each question, or one for a text: `judge`, `judge?wording=own`."""
        options = judged.judge_options(spec, judged.WordingOptions, benchmark="oneig")
        is_own = options.is_own(self.split)
        texts = questions.OWN if is_own else questions.official_texts(self.data)
        objects = is_own and self.split == "mini"
        return questions.open_oneig_judge(judge, texts, self.protocol, objects=objects)

    def clusters(self, samples: Sequence[Sample], verdicts: Sequence[Verdict]) -> list[Cluster]:
        """See `OneIGMeasures.clusters`."""
        return measures_of(samples, verdicts, self.split, self.protocol).clusters()

    def formula(self) -> Formula:
        """None: the parts are not combined."""
        return statistics.no_headline

    def report(self, run: judged.JudgedRun) -> Report:
        """See `OneIGMeasures.report`; protocols differ in how images are sent and replies read."""
        measures = measures_of(run.samples, run.verdicts, self.split, self.protocol)
        notes = _reading_notes(run.verdicts) if self.protocol == "official" else ()
        return measures.report(run.scope, notes)

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
        columns = ("category", "id", column)
        rows = read_csv_rows(self.data.read(PIN, where), columns, where=where, hint=HINT)
        prompts = {(row["category"], row["id"]): row[column] for row in rows}
        for folder, path in self._files.items():
            content = self.data.read(PIN, path)
            for number, facts in read_facts(content, path, self.protocol).items():
                prompt = prompts.get((CATEGORIES[folder], number))
                row = {"folder": folder, "number": number, "prompt": prompt, **facts}
                if not judged.fits(row, _is_prompt):
                    raise AlphaBenchError(f"{path!r} has no prompt {number!r}", hint=HINT)
                yield row


open_oneig: Final = OneIG.open


def read_facts(content: bytes, where: str, protocol: ProtocolName) -> dict[str, dict[str, Any]]:
    """Number of a prompt -> its text, or its questions and the numbers that each depends on.

    Upstream takes the lists of its table as Python writes them, so that an escaped line break in
    a text becomes the letter n; strict makes it a blank.

    Raises:
        AlphaBenchError: it is neither upstream's table of texts nor its JSON in JSON.
    """
    if where.endswith(".csv"):
        rows = read_csv_rows(content, ("id", "text_content"), where=where, hint=HINT)
        blank = "\\n" if protocol == "official" else " "
        return {row["id"]: {"text": row["text_content"].replace("\\n", blank)} for row in rows}
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
    has_text = row["folder"] == "text"
    texts = [row["text"]] if has_text else row["questions"]
    fixed = (row["folder"], row["number"], row["prompt"])
    if not all(isinstance(text, str) for text in (*fixed, *texts)):
        return False
    if has_text:
        return match_letters("", row["text"]).expected > 0
    parents = [parent for of in row["dependency"] for parent in of]
    return len(row["dependency"]) == len(texts) > 0 and all(type(one) is int for one in parents)


def measures_of(
    samples: Sequence[Sample], verdicts: Sequence[Verdict], split: str, protocol: ProtocolName
) -> scoring.OneIGMeasures:
    """What verdicts say about both measures."""
    parents = {one.id: one.facts["dependency"] for one in samples if "text" not in one.facts}
    asked = [one for one in samples if one.id in parents]
    images = answered_images(asked, verdicts, question_ids, images=IMAGES).values()
    counted = [scoring.counted_answers(one.answers, parents[one.sample_id]) for one in images]
    return scoring.OneIGMeasures(
        aligned=[replace(one, answers=of) for one, of in zip(images, counted, strict=True)],
        written=text_accuracy.LetterMeasure(
            prompts=_written_texts(samples, verdicts, protocol), farthest=FARTHEST[split]
        ),
    )


def _written_texts(
    samples: Sequence[Sample], verdicts: Sequence[Verdict], protocol: ProtocolName
) -> list[tuple[Cluster, ...]]:
    """How near what was read is to each text.

    official: where all four images of a prompt are black, upstream's script goes on with the
    replies about the prompt before it and compares them with this text (text_score.py, after
    `= None`); at the first prompt it stops, which here has no value.
    """
    known = {one.image_id: one for one in verdicts if one.question_id == TEXT}
    found, before = [], list[str]()
    for sample in (one for one in samples if "text" in one.facts):
        words = match_letters("", text := sample.facts["text"]).expected
        about = [known.get(image_id(sample.id, index)) for index in range(IMAGES)]
        scored = [one for one in about if one is not None and one.value is not None]
        read = [text_accuracy.ReadText.in_verdict(one, words) for one in scored]
        if scored:
            before = [str(one.detail.get(text_accuracy.READ, "")) for one in scored]
        elif protocol == "official" and all(one and one.detail.get(BLACK) for one in about):
            stale = [match_letters(reply, text) for reply in before]
            read = [text_accuracy.ReadText.of(one.distance, one.matched) for one in stale]
        found.append(text_accuracy.letter_clusters(sample.id, words, read, n_images=IMAGES))
    return found


def _reading_notes(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """What the official reading made of replies and images."""
    if n_unread := sum(bool(one.detail.get(UNREAD)) for one in verdicts):
        yield f"{n_unread} replies are neither `Yes` nor `No`, and count as no as upstream's"
    black = Counter(sample_of(v) for v in verdicts if v.question_id == TEXT and BLACK in v.detail)
    if n := sum(number == IMAGES for number in black.values()):
        yield f"texts with four black images, scored by the replies to the prompt before: {n}"
