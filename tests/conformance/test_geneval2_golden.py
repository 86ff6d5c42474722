"""GenEval 2 against upstream's own output, on inputs made for the purpose."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alphabench.benchmarks.geneval2.benchmark import read_geneval2_prompts
from alphabench.benchmarks.geneval2.official_files import score_lists_text, summarise_score_lists
from alphabench.benchmarks.geneval2.questions import accepted_texts
from alphabench.judges.first_tokens import FirstTokenSet
from alphabench.questions import NamedToken, Reply
from alphabench.types import Sample

WHOLE = "__vqascore__"


@pytest.fixture
def golden(shared: Path) -> Path:
    return shared / "golden" / "geneval2"


def load(path: Path) -> Any:
    return json.loads(path.read_text())


def prompts(golden: Path) -> list[Sample]:
    return read_geneval2_prompts((golden / "data.jsonl").read_bytes(), where="data.jsonl")


def replies(golden: Path) -> Iterator[tuple[str, str, Reply]]:
    """Prompt, question, and the reply of a judge with those logits."""
    encode, tokens = load(golden / "encode.json"), load(golden / "tokens.json")
    images, logits = load(golden / "images.json"), load(golden / "logits.json")
    for sample in prompts(golden):
        atoms = [*sample.facts["vqa_list"], [WHOLE, "Yes"]]
        for question, answer in atoms:
            raw = np.array([float(x) for x in logits[images[sample.prompt]][question]], np.float32)
            shares = np.exp(raw - raw.max())
            shares /= shares.sum()
            likeliest = sorted(range(len(raw)), key=lambda i: -shares[i])[:20]
            yield (
                sample.prompt,
                question,
                Reply(
                    text=tokens[str(likeliest[0])],
                    model="m",
                    first_token=tuple(
                        (tokens[str(i)], math.log(shares[i])) for i in likeliest if shares[i] > 0
                    ),
                    named_tokens=tuple(
                        NamedToken(
                            text,
                            encode[text][0],
                            tokens[str(encode[text][0])],
                            float(shares[encode[text][0]]),
                        )
                        for text in accepted_texts(question, answer)
                    ),
                ),
            )


def values(golden: Path) -> dict[str, list[tuple[float, ...]]]:
    """Prompt -> what is read of each atom, then of the question about all."""
    found: dict[str, list[tuple[float, ...]]] = {}
    for prompt, _, reply in replies(golden):
        accepted = tuple(token.named for token in reply.named_tokens)
        read = FirstTokenSet(accepted=accepted, wording="x", reading="full").parse(reply)
        assert read is not None
        found.setdefault(prompt, []).append(read)
    return found


def test_every_atom_has_upstreams_soft_and_hard_score(golden: Path) -> None:
    expected, found = load(golden / "expected.json"), values(golden)
    for number, sample in enumerate(prompts(golden)):
        *atoms, whole = found[sample.prompt]
        soft = expected["soft_tifa_gm"]["score_lists"][number]
        assert [one[0] for one in atoms] == pytest.approx(soft, rel=1e-5, abs=1e-9)
        assert [one[2] for one in atoms] == expected["tifa"]["score_lists"][number]
        assert whole[0] == pytest.approx(expected["vqascore"]["score_lists"][number][0], rel=1e-5)
    assert max(one[0] for atoms in found.values() for one in atoms) > 2.9
    assert all(one[1] <= min(1.0 + 1e-6, one[0] + 1e-9) for of in found.values() for one in of)


def test_strictly_a_token_counts_once_and_a_blank_never(golden: Path) -> None:
    encode, tokens = load(golden / "encode.json"), load(golden / "tokens.json")
    (first, *_) = values(golden)[prompts(golden)[0].prompt]
    (reply,) = [one for _, question, one in replies(golden) if "How many" in question][:1]
    shares = {token.token: token.probability for token in reply.named_tokens}
    assert " " in {tokens[str(token)] for token in shares}
    by_hand = sum(p for token, p in shares.items() if tokens[str(token)] != " ")
    assert first[1] == pytest.approx(by_hand)
    assert len(encode[" six"]) == 2


@pytest.mark.parametrize("method", ["vqascore", "tifa", "soft_tifa_gm"])
def test_score_lists_have_upstreams_score_and_tables(
    golden: Path, tmp_path: Path, method: str
) -> None:
    expected = load(golden / "expected.json")
    path = tmp_path / "score_lists.json"
    path.write_text(json.dumps(expected[method]["score_lists"]))
    report = summarise_score_lists(path, prompts(golden))
    assert method in report.evaluator
    assert report.headline.value == pytest.approx(expected[method]["score"] / 100, rel=1e-12)
    text = score_lists_text(report)
    printed = [float(line.partition("Score: ")[2]) for line in text.splitlines() if "Score" in line]
    assert printed[0] == expected[method]["score"]
    if method == "soft_tifa_gm":
        assert printed[1] == expected["soft_tifa_am"]["score"]
        analysis = text[text.index("Per Atom Type") :]
        assert analysis == expected["analysis_stdout"].rstrip("\n")


def without(lists: Sequence[Any], samples: Sequence[Sample], atomicity: int) -> list[Any]:
    pairs = zip(lists, samples, strict=True)
    return [one for one, sample in pairs if sample.facts["atom_count"] != atomicity]


def test_where_upstreams_analysis_divides_by_zero_no_analysis_is_printed(
    golden: Path, tmp_path: Path
) -> None:
    expected, samples = load(golden / "expected.json"), prompts(golden)
    assert expected["analysis_without_atomicity_5"] == "ZeroDivisionError"
    path = tmp_path / "score_lists.json"
    path.write_text(json.dumps(without(expected["soft_tifa_gm"]["score_lists"], samples, 5)))
    text = score_lists_text(summarise_score_lists(path, without(samples, samples, 5)))
    assert text.endswith("No analysis: nothing is scored for atomicity 5.")
    assert "Score: " in text
