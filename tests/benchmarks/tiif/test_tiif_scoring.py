"""TIIF's rules: replies read, and figures made of answers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphabench.benchmarks.tiif.scoring import (
    ATTRIBUTES,
    GROUPS,
    LENGTHS,
    LEVELS,
    is_right,
    read_lines,
    stratum,
    tiif_metrics,
)
from alphabench.statistics import Cluster
from alphabench.types import ProtocolName
from tests.support.replies import fuzzed

STRATA = [stratum(attribute, length) for attribute in ATTRIBUTES for length in LENGTHS]


def cluster(
    group: str, right: int, n: int, *, id_: str = "0", expected: int | None = None
) -> Cluster:
    return Cluster(
        sample_id=id_, group=group, total=float(right), n_scored=n, n_expected=expected or n
    )


def value(
    clusters: Sequence[Cluster], name: str, protocol: ProtocolName = "official"
) -> float | None:
    return tiif_metrics(clusters, protocol=protocol, complete=STRATA)[name].value


def test_thirty_nine_attributes_make_nine_groups_and_three_levels() -> None:
    assert len(ATTRIBUTES) == len(set(ATTRIBUTES)) == 39
    assert len(GROUPS) == 9
    sizes = {level: sum(len(GROUPS[g]) for g in groups) for level, groups in LEVELS.items()}
    assert sizes == {"Basic": 12, "Advanced": 26, "Real World": 1}


@pytest.mark.parametrize(
    ("reply", "n", "answers"),
    [
        ("yes\nno", 2, (True, False)),
        ("Here they are:\nYES, it is\n\nNo.", 2, (True, False)),
        ("yes", 2, None),
        ("1. yes", 1, None),
        ("yesterday", 1, None),
        ("", 1, None),
        ("", 0, None),
        ("yes or no", 1, (True,)),
    ],
)
def test_a_reply_counts_by_the_lines_that_start_with_an_answer(
    reply: str, n: int, answers: tuple[bool, ...] | None
) -> None:
    assert read_lines(reply, n_questions=n) == answers


@pytest.mark.parametrize("reply", ["yes or no", "Yes / no", "no|yes, who knows"])
def test_strict_reads_no_answer_from_a_line_that_names_both_words(reply: str) -> None:
    assert read_lines(reply, n_questions=1) is not None
    assert read_lines(reply, n_questions=1, strict=True) is None


@pytest.mark.parametrize("strict", [False, True])
def test_no_reply_whatever_breaks_the_parser_or_makes_it_invent_an_answer(strict: bool) -> None:
    seeds = ["yes\nno\nyes", "Yes, a cat.\nNo dog.", "1. yes\n2. no", "**yes**", "I cannot say"]
    n_read = 0
    for reply in fuzzed(seeds, 10_000):
        for n in (1, 2, 3):
            answers = read_lines(reply, n_questions=n, strict=strict)
            if answers is None:
                continue
            n_read += 1
            starts = [line.strip().lower()[:3] for line in reply.strip().split("\n")]
            stated = ["yes" if s == "yes" else "no" for s in starts if s == "yes" or s[:2] == "no"]
            assert len(answers) == n
            iterator = iter(stated)  # what was read was stated, in this order
            assert all(any(said == ("yes" if a else "no") for said in iterator) for a in answers)
    assert n_read > 1000


@given(st.lists(st.booleans(), min_size=1, max_size=8), st.text(alphabet=" .,:-abc", max_size=9))
def test_what_is_written_as_asked_is_read_back(answers: list[bool], rest: str) -> None:
    reply = "\n".join(("Yes" if answer else "no") + f", {rest}" for answer in answers)
    assert read_lines(reply, n_questions=len(answers), strict=True) == tuple(answers)


def test_upstreams_data_writes_yes_in_two_ways() -> None:
    assert is_right("yes", "Yes")
    assert is_right("no ", "No")
    assert not is_right("yes", "no")


def test_answers_are_pooled_over_the_questions_of_an_attribute() -> None:
    clusters = [cluster("style short", 1, 2), cluster("style short", 4, 4, id_="1")]
    assert value(clusters, "Style Control short") == 0.8333
    assert tiif_metrics(clusters, protocol="strict", complete=["style short"])[
        "Style Control short"
    ].value == pytest.approx(5 / 6)


def test_official_rounds_each_accuracy_to_four_decimals_before_averaging() -> None:
    clusters = [cluster("numeracy short", 1, 3), cluster("negation short", 2, 3)]
    assert value(clusters, "Reasoning short") == pytest.approx((0.3333 + 0.6667) / 2, abs=1e-12)
    tie = [cluster("numeracy short", 1, 160)]
    assert value(tie, "Reasoning short") == 0.0063, "as text: 1/160 lies above 0.00625"


def test_the_overall_figure_is_the_mean_of_groups_and_leaves_out_absent_ones() -> None:
    clusters = [
        cluster("numeracy long", 4, 4),
        cluster("negation long", 0, 4),
        cluster("text long", 3, 4),
        cluster("style short", 1, 4),
    ]
    assert value(clusters, "overall long") == pytest.approx((0.5 + 0.75) / 2)
    assert value(clusters, "overall short") == 0.25
    assert value(clusters, "headline") == pytest.approx((0.625 + 0.25) / 2)
    assert value(clusters, "Attribute long") is None
    assert value(clusters, "Advanced Following long") == 0.75
    assert value(clusters, "mean accuracy") == pytest.approx(0.5)


def test_strict_gives_no_figure_that_rests_on_less_than_it_says() -> None:
    complete = ["numeracy long", "negation long", "text long"]
    clusters = [cluster("numeracy long", 4, 4), cluster("negation long", 0, 0, expected=4)]
    found = tiif_metrics(clusters, protocol="strict", complete=complete)
    assert found["Reasoning long"].value is None
    assert found["headline"].value is None
    assert found["headline"].n_expected == 8
    full = [*clusters, cluster("negation long", 1, 1, id_="1"), cluster("text long", 1, 1)]
    found = tiif_metrics(full, protocol="strict", complete=complete)
    assert found["Reasoning long"].value == 1.0
    assert found["headline"].value == 1.0


def test_intervals_come_from_the_official_formula_over_items() -> None:
    clusters = [
        cluster(group, right, 4, id_=str(i))
        for group in ("text short", "style short")
        for i, right in enumerate((0, 1, 2, 3, 4, 4, 1, 2))
    ]
    figure = tiif_metrics(clusters, protocol="official", complete=STRATA)["overall short"]
    assert figure.low is not None
    assert figure.value is not None
    assert figure.high is not None
    assert 0.3 < figure.low < figure.value < figure.high < 0.9
    assert figure.n_samples == 16


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(STRATA), st.integers(0, 4)), min_size=1, max_size=12))
def test_the_order_of_items_changes_no_figure(found: list[tuple[str, int]]) -> None:
    clusters = [cluster(group, right, 4, id_=str(i)) for i, (group, right) in enumerate(found)]
    for protocol in ("official", "strict"):
        forth = tiif_metrics(clusters, protocol=protocol, complete=STRATA)
        assert forth == tiif_metrics(clusters[::-1], protocol=protocol, complete=STRATA)


def test_the_mean_accuracy_rounds_once_and_at_the_end() -> None:
    clusters = [cluster("style short", 1, 3), cluster("text long", 6, 8)]
    assert value(clusters, "mean accuracy") == 0.5417
    strict = tiif_metrics(clusters, protocol="strict", complete=["style short", "text long"])
    assert strict["mean accuracy"].value == pytest.approx(13 / 24)


def test_a_group_adds_up_in_upstreams_order_and_as_pandas_does() -> None:
    """Of tied fourth decimals the order of addition decides."""
    rights = (7363, 8736, 7247, 5959, 3381, 885, 1395, 1758)
    group = GROUPS["Attribute+Relation"]
    clusters = [cluster(stratum(a, "short"), r, 10_000) for a, r in zip(group, rights, strict=True)]
    values = [r / 10_000 for r in rights]
    assert float(np.sum(values)) != reduce(add, values) != sum(sorted(values))
    for alone, total in ((True, float(np.sum(values))), (False, reduce(add, values))):
        found = tiif_metrics(clusters, protocol="official", complete=STRATA, alone=alone)
        assert found["Attribute+Relation short"].value == total / 8
