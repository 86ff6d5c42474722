"""Writes the prompts of `geneval:mini-test`, the held-out split of the synthetic world.

    python -m tools.assets.build_mini_test            compares them with the file in the package
    python -m tools.assets.build_mini_test --write    replaces that file

Written once, with seed 18: results on other prompts would be of another split. What a prompt
demands is among neither the prompts of `geneval:mini` nor those that the nano recipes train on
(`TRAINED`), so that leaving the test prompts out of `small:` changes none of those trainings.

    position    60  two objects in one relation, each relation 15 times
    color_attr  60  two objects in two colours
    counting    40  four of a category in one colour (30), five of a category (10)
    two_object  40  two objects of which one has a colour (20), or both have the same (20)

`small:` has no prompt of the last two kinds, nor five of anything.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources
from itertools import combinations, permutations, product
from pathlib import Path
from typing import Any, Final

import numpy as np

from alphabench.benchmarks import open_benchmark
from alphabench.benchmarks.mini_split import MINI_TEST
from alphabench.detections.geneval_rules import RELATIONS
from alphabench.detections.objects import COLOURS
from alphabench.scenes.descriptions import NUMBERS, facts_key
from alphabench.scenes.scene_questions import a_noun, noun
from alphabench.scenes.small_world import SMALL_CATEGORIES
from alphagrpo.prompts import SmallOptions, small_prompts

SPLIT_SEED: Final = 18
CONSIDERED: Final = 2000
"""Candidates of a kind, at most: some have tens of thousands."""
TRAINED: Final = (
    SmallOptions(count=600),
    SmallOptions(count=600, tasks="two_object,colors,position,color_attr"),
)
"""What the nano recipes trained on when the split was written."""
Facts = dict[str, Any]


def main() -> None:
    """Compare or write the file."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.assets.build_mini_test", description=__doc__
    )
    parser.add_argument("--write", action="store_true", help="replace the file in the package")
    path = Path(str(resources.files("alphabench.scenes"))) / "mini" / f"{MINI_TEST}.jsonl"
    text = split_text()
    if parser.parse_args().write:
        path.write_text(text)
        print(f"wrote {path}")
    elif path.read_text() != text:
        raise SystemExit(f"{path} holds other prompts than this script writes")
    else:
        print(f"{path} holds the prompts that this script writes")


def split_text() -> str:
    """The JSON lines of the split."""
    return "".join(f"{json.dumps(facts)}\n" for facts in split_prompts())


def split_prompts() -> list[Facts]:
    """The prompts with their facts, by task."""
    rng = np.random.default_rng(SPLIT_SEED)
    taken = known_demands()
    coloured_fours = product(SMALL_CATEGORIES, COLOURS)
    return [
        *(
            draft
            for relation in RELATIONS
            for draft in choose(relation_candidates(relation), 15, taken=taken, rng=rng)
        ),
        *choose(colour_pairs(), 60, taken=taken, rng=rng),
        *choose((count_of(4, *pair) for pair in coloured_fours), 30, taken=taken, rng=rng),
        *choose((count_of(5, name) for name in SMALL_CATEGORIES), 10, taken=taken, rng=rng),
        *choose(half_coloured(), 20, taken=taken, rng=rng),
        *choose(like_coloured(), 20, taken=taken, rng=rng),
    ]


def known_demands() -> set[object]:
    """What the development split and the trainings demand."""
    held_out = open_benchmark("geneval:mini").samples()
    known: set[object] = {facts_key(sample.facts) for sample in held_out}
    for options in TRAINED:
        known |= {facts_key(one.facts) for one in small_prompts(options, held_out=held_out)}
    return known


def choose(
    candidates: Iterable[Facts], count: int, *, taken: set[object], rng: np.random.Generator
) -> Iterator[Facts]:
    """So many candidates in random order, the rarest categories and colours first.

    Args:
        candidates: all of one kind.
        count: how many are needed.
        taken: demands that are not chosen; the chosen ones are added.
        rng: decides between equals.
    """
    drafts = list(candidates)
    drafts = [drafts[int(index)] for index in rng.permutation(len(drafts))[:CONSIDERED]]
    pool = [(one, facts_key(one), values_of(one)) for one in drafts]
    used: Counter[str] = Counter()
    for _ in range(count):
        pool = [one for one in pool if one[1] not in taken]
        chosen, key, values = min(pool, key=lambda one: sum(used[value] for value in one[2]))
        used.update(values)
        taken.add(key)
        yield chosen


def values_of(facts: Facts) -> list[str]:
    """Categories and colours, by the place at which they stand."""
    return [
        f"{place} {clause[key]}"
        for place, clause in enumerate(facts["include"])
        for key in ("class", "color")
        if key in clause
    ]


def relation_candidates(relation: str) -> Iterator[Facts]:
    """Every two categories in this relation."""
    for first, second in permutations(SMALL_CATEGORIES, 2):
        placed = {**clause_of(first), "position": [relation, 0]}
        words = f"{a_noun(first)} {relation} {a_noun(second)}"
        yield metadata_of("position", words, [clause_of(second), placed])


def colour_pairs() -> Iterator[Facts]:
    """Every two categories in two different colours."""
    for names, colours in product(permutations(SMALL_CATEGORIES, 2), permutations(COLOURS, 2)):
        yield pair_of("color_attr", names, colours)


def half_coloured() -> Iterator[Facts]:
    """Every two categories, the first or the second in a colour."""
    for names, colour in product(permutations(SMALL_CATEGORIES, 2), COLOURS):
        yield pair_of("two_object", names, (colour, None))
        yield pair_of("two_object", names, (None, colour))


def like_coloured() -> Iterator[Facts]:
    """Every two categories in the same colour."""
    for names, colour in product(combinations(SMALL_CATEGORIES, 2), COLOURS):
        yield pair_of("two_object", names, (colour, colour))


def pair_of(tag: str, names: Sequence[str], colours: Sequence[str | None]) -> Facts:
    """Two objects side by side."""
    pairs = list(zip(names, colours, strict=True))
    words = " and ".join(a_noun(name, colour) for name, colour in pairs)
    return metadata_of(tag, words, [clause_of(name, colour) for name, colour in pairs])


def count_of(count: int, name: str, colour: str | None = None) -> Facts:
    """So many of a category."""
    words = " ".join(filter(None, (NUMBERS[count], colour, noun(name, count))))
    limit = {"class": name, "count": count + 1}
    return metadata_of("counting", words, [clause_of(name, colour, count)], exclude=[limit])


def clause_of(name: str, colour: str | None = None, count: int = 1) -> Facts:
    """One demand in GenEval's form."""
    return {"class": name, "count": count, **({"color": colour} if colour else {})}


def metadata_of(
    tag: str, words: str, include: Sequence[Facts], *, exclude: Sequence[Facts] = ()
) -> Facts:
    """A line of the split."""
    forbidden = {"exclude": list(exclude)} if exclude else {}
    return {"tag": tag, "include": list(include), **forbidden, "prompt": f"a picture of {words}"}


if __name__ == "__main__":
    main()
