"""GenEval 2: 800 prompts of 3 to 10 atoms, one image each (Kamath et al., 2025).

Each atom is a question of its own, scored by the probability that a judge finds the right answer.
The split `mini` is authored here over the project's synthetic scenes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from alphabench import statistics
from alphabench.benchmarks.geneval2 import questions, scoring
from alphabench.benchmarks.geneval2.scoring import JudgedPrompt
from alphabench.benchmarks.judged import (
    About,
    JudgedBenchmark,
    JudgedRun,
    WordingOptions,
    index_ids,
    judge_options,
    rows_of_lines,
)
from alphabench.benchmarks.mini_split import DataSource, mini_bytes, mini_source, pinned_source
from alphabench.interfaces import Evaluator
from alphabench.questions import Judge
from alphabench.statistics import Cluster
from alphabench.types import Report, Sample, Verdict
from alphabench.upstream import UpstreamData, pin_of

PIN: Final = "geneval2"
DATA_FILE: Final = "geneval2_data.jsonl"
TOP20_NOTE: Final = "read from the 20 likeliest first tokens alone: not the official reading"


@dataclass(frozen=True, slots=True, kw_only=True)
class GenEval2(JudgedBenchmark):
    """One split of GenEval 2 under one protocol."""

    about: ClassVar = About(
        name="geneval2",
        titles={
            "": "GenEval 2",
            "mini": "GenEval 2's atoms over AlphaBench's synthetic scenes",
        },
        citation="arXiv:2512.16853",
    )

    def source(self) -> DataSource:
        """The package, or upstream's one file."""
        if self.split == "mini":
            return mini_source("geneval2")
        pin = pin_of(PIN)
        return pinned_source(pin, digest=pin.file(DATA_FILE).digest)

    def samples(self) -> Sequence[Sample]:
        """The prompts in file order; ids are their positions: `0000`, `0001` ..."""
        if self.split == "mini":
            return read_geneval2_prompts(mini_bytes("geneval2"), where="geneval2.jsonl")
        return official_prompts(self.data)

    def questions(self, sample: Sample) -> Sequence[str]:
        """The positions of the atoms: `0`, `1` ..."""
        return atom_ids(sample)

    def judge_evaluator(self, spec: str | None, judge: Judge | None) -> Evaluator:
        """With a question for each atom: `judge`, `judge?wording=own`."""
        is_own = judge_options(spec, WordingOptions, benchmark="geneval2").is_own(self.split)
        wording = questions.OWN if is_own else questions.official_templates(self.data)
        return questions.open_geneval2_judge(judge, wording, self.protocol)

    def clusters(self, samples: Sequence[Sample], verdicts: Sequence[Verdict]) -> list[Cluster]:
        """The geometric mean of each prompt whose atoms are all scored."""
        return scoring.prompt_clusters(judged_prompts(samples, verdicts))

    def report(self, run: JudgedRun) -> Report:
        """Headline: Soft-TIFA GM. Extras: Soft-TIFA AM, TIFA, and the other protocol's GM."""
        prompts = judged_prompts(run.samples, run.verdicts)
        extras = {"soft_tifa_am": scoring.mean_over_prompts(prompts, scoring.arithmetic_mean)}
        details = [verdict.detail for verdict in run.verdicts if verdict.status == "scored"]
        other = "strict" if self.protocol == "official" else "official"
        if details and all({"tifa", other} <= detail.keys() for detail in details):
            hard = judged_prompts(run.samples, run.verdicts, "tifa")
            extras["tifa"] = scoring.mean_over_prompts(hard, scoring.arithmetic_mean)
            beside = judged_prompts(run.samples, run.verdicts, other)
            extras[f"soft_tifa_gm, {other}"] = scoring.mean_over_prompts(beside)
        cut = any(detail.get("reading") == "top20" for detail in details)
        notes = (TOP20_NOTE,) if cut else ()
        return scoring.geneval2_report(prompts, run.scope, extras=extras, notes=notes)


open_geneval2: Final = GenEval2.open


def judged_prompts(
    samples: Sequence[Sample], verdicts: Sequence[Verdict], key: str = ""
) -> list[JudgedPrompt]:
    """The scores by prompt and atom: the verdicts' values, or what their details hold as `key`."""
    scored = {
        (statistics.sample_of(one), one.question_id): (
            one.number(key) if key else one.value,
            one.number("most", one.value),
        )
        for one in verdicts
        if one.value is not None
    }
    return [
        JudgedPrompt(
            id=sample.id,
            atomicity=sample.facts["atom_count"],
            skills=tuple(sample.facts["skills"]),
            scores=tuple(score for score, _ in atoms),
            most=tuple(most for _, most in atoms),
        )
        for sample in samples
        for atoms in [[scored.get((sample.id, i), (None, None)) for i in atom_ids(sample)]]
    ]


def atom_ids(sample: Sample) -> list[str]:
    """The positions of a prompt's atoms."""
    return index_ids(sample.facts["skills"])


def official_prompts(data: UpstreamData) -> list[Sample]:
    """Upstream's prompts; AlphaBenchError where they are not fetched, or were changed."""
    return read_geneval2_prompts(data.read(PIN, DATA_FILE), where=DATA_FILE)


def read_geneval2_prompts(content: bytes, *, where: str) -> list[Sample]:
    """The prompts of a file of JSON lines: `prompt`, `atom_count`, `vqa_list`, `skills`."""
    return [
        Sample(
            id=f"{index:04}",
            prompt=facts["prompt"],
            group=f"atomicity {facts['atom_count']}",
            facts=facts,
        )
        for index, facts in enumerate(rows_of_lines(content, _is_prompt, where=where))
    ]


def _is_prompt(facts: Any) -> bool:
    """False, or KeyError or TypeError, for anything else."""
    atoms, skills = facts["vqa_list"], facts["skills"]
    are_texts = all(isinstance(text, str) for atom in atoms for text in (*atom, facts["prompt"]))
    are_pairs = all(len(atom) == 2 for atom in atoms) and 0 < len(atoms) == len(skills)
    are_known = set(skills) <= set(scoring.SKILLS)
    return are_texts and are_pairs and are_known and facts["atom_count"] in scoring.ATOMICITIES
