"""The judged benchmarks on official data, from pictures in upstream's own layout to the report.

Pictures are small noise, judges are scripted: what is held here is that data, layouts, questions,
rules and formats fit together.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from alphabench.benchmarks import open_benchmark
from alphabench.benchmarks.dpg.benchmark import Dpg
from alphabench.benchmarks.dpg.official_files import make_grid
from alphabench.benchmarks.gedit.official_files import gedit_image_path
from alphabench.benchmarks.gedit.scoring import GROUPS
from alphabench.benchmarks.imgedit.benchmark import ARCHIVE
from alphabench.benchmarks.tiif.official_files import tiif_image_path
from alphabench.judges import open_judge
from alphabench.runs import official_export
from alphabench.runs.plan import checkpoint_factory, choose_samples, open_evaluation, plan_run
from alphabench.runs.run import Work, execute_plan
from alphabench.types import Sample
from alphabench.upstream import UpstreamData
from alphabench.upstream.image_grids import grid_bytes
from tests.benchmarks.dpg.test_dpg_benchmark import invented_table
from tests.cli.conftest import Shell
from tests.support.judged_world import noise, noises

PINS = (
    "tiif",
    "wise",
    "wise-legacy",
    "dpg",
    "geneval2",
    "corebench",
    "longtext",
    "oneig",
    "imgedit",
    "imgedit-judge",
    "rise",
    "unigenbench",
)


@pytest.fixture(scope="module")
def data(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> UpstreamData:
    """A cache folder with the official data; of the judges' wording, with ImgEdit-Bench's alone."""
    found = UpstreamData(cache_dir=tmp_path_factory.mktemp("official"))
    for pin in PINS:
        found.fetch(pin, source=str(shared / "upstream"))
    return found


@pytest.fixture
def here(data: UpstreamData, tmp_path: Path) -> Shell:
    return Shell(folder=tmp_path, cache=data.cache_dir)


def chosen(name: str, data: UpstreamData, limit: int | None = None) -> list[Sample]:
    return choose_samples(open_benchmark(name, data=data).samples(), limit, seed=0)


def judged(here: Shell, name: str, answer: str, *words: str, code: int = 0) -> Any:
    """A run over the pictures in `pictures`, with own wording and one answer to all questions."""
    layout = name.partition(":")[0].partition("@")[0]
    out = () if "--out" in words else ("--out", "run")
    return here(
        "run", name, "--ckpt", "images:pictures", "--layout", layout, "--wording", "own",
        "--judge", f"scripted:?answer={answer}", "--json", *out, *words, code=code,
    )  # fmt: skip


def test_all_of_testmini_is_judged_and_comes_back_from_its_own_files(
    here: Shell, data: UpstreamData
) -> None:
    samples = chosen("tiif:testmini", data)
    noises(here.folder / "pictures", [tiif_image_path(sample, "a-model") for sample in samples])
    found = judged(here, "tiif:testmini", "yes").json
    assert found["statuses"] == {"scored": 2892}
    assert (found["partial"], found["coverage"]) == (False, 1.0)
    right = [a.casefold() == "yes" for sample in samples for a in sample.facts["answers"]]
    assert sum(right) == 2892 - 2 * 34
    assert 0.95 < found["headline"]["value"] < 1.0
    here("summarise", "run", "--export", "theirs")
    assert len(list((here.folder / "theirs" / "images").rglob("*.png"))) == 554
    official = here("summarise", "tiif", "--official", "theirs/eval_results", "--json").json
    assert official["headline"]["value"] == found["headline"]["value"]
    assert official["partial"] is False
    text = here("summarise", "tiif", "--official", "theirs/eval_results").out
    assert "Overall average score of 9 sub-attributes" in text
    shutil.rmtree(here.folder / "pictures" / "text")
    said = here(
        "run", "tiif:testmini", "--ckpt", "images:pictures", "--layout", "tiif", "--wording", "own",
        "--judge", "scripted:", "--out", "other", code=2,
    )  # fmt: skip
    assert "60 of 554 images are missing" in said.err
    assert "text-0-short/0" in said.err
    assert not (here.folder / "other").exists()


def test_a_part_of_the_full_test_split_is_judged(here: Shell, data: UpstreamData) -> None:
    samples = chosen("tiif:test", data, 80)
    noises(here.folder / "pictures", [tiif_image_path(sample, "m") for sample in samples])
    found = judged(here, "tiif:test", "no", "--limit", "80").json
    assert found["partial"] is True
    assert found["coverage"] == 1.0
    assert found["headline"]["n_samples"] == 80
    assert 0.0 < found["headline"]["value"] < 0.3
    strict = here(
        "score", "run", "--judge", "scripted:?answer=no", "--wording", "own", "--protocol",
        "strict", "--json",
    ).json  # fmt: skip
    assert strict["headline"]["value"] is None, "strictly no attribute may be lacking"
    assert strict["extras"]["overall short, official"] == found["groups"]["overall short"]


def test_official_wording_that_is_not_here_is_requested_before_any_image_is_taken(
    here: Shell, data: UpstreamData
) -> None:
    tiif = [tiif_image_path(sample, "m") for sample in chosen("tiif:testmini", data)]
    noises(here.folder / "pictures", tiif, side=2)
    noises(here.folder / "pictures", [f"{number}.png" for number in range(1, 1001)], side=2)
    for name, layout in (("tiif:testmini", "tiif"), ("wise@legacy", "wise")):
        said = here(
            "run", name, "--ckpt", "images:pictures", "--layout", layout, "--judge", "scripted:",
            code=2,
        )  # fmt: skip
        assert "not on this machine" in said.err
        assert "alphabench fetch" in said.err
        assert not (here.folder / "runs").exists()


def test_all_of_wise_verified_is_judged_and_comes_back_from_its_own_files(here: Shell) -> None:
    noises(here.folder / "pictures", [f"{number}.png" for number in range(1, 1001)])
    table = {f"{number}/0": {"score": f"Score: {int(number % 3 > 0)}"} for number in range(1, 1001)}
    (here.folder / "table.json").write_text(json.dumps(table))
    found = here(
        "run", "wise", "--ckpt", "images:pictures", "--layout", "wise", "--wording", "own",
        "--judge", "scripted:table.json", "--out", "run", "--json",
    ).json  # fmt: skip
    weights = {"culture": (1, 400, 0.4)}
    for place, name in enumerate(("time", "space", "biology", "physics", "chemistry")):
        weights[name] = (401 + 120 * place, 520 + 120 * place, 0.12)
    means = {
        name: sum(number % 3 > 0 for number in range(first, last + 1)) / (last - first + 1)
        for name, (first, last, _) in weights.items()
    }
    by_hand = sum(means[name] * weight for name, (_, _, weight) in weights.items())
    assert found["headline"]["value"] == pytest.approx(by_hand)
    assert {k: v["value"] for k, v in found["groups"].items()} == pytest.approx(means)
    here("summarise", "run", "--export", "theirs")
    official = here("summarise", "wise", "--official", "theirs", "--json").json
    assert official["headline"]["value"] == found["headline"]["value"]
    assert (
        f"Overall WiScore: {by_hand:.2f}" in here("summarise", "wise", "--official", "theirs").out
    )
    assert here("show", "run").code == 0


@pytest.mark.parametrize("n_prompts", [40, pytest.param(800, marks=pytest.mark.whole)])
def test_geneval2_is_judged_and_comes_back_from_its_own_files(
    here: Shell, data: UpstreamData, n_prompts: int
) -> None:
    samples = chosen("geneval2", data, n_prompts)
    pictures = here.folder / "pictures"
    noises(pictures, [f"{sample.id}.png" for sample in samples], side=2)
    paths = {sample.prompt: f"{sample.id}.png" for sample in samples}
    (pictures / "image_paths.json").write_text(json.dumps(paths))
    # Every answer is right, but for the last one about every second image.
    table = {
        f"{sample.id}/0": {
            str(index): "wrong" if index + 1 == len(atoms) and number % 2 else right
            for index, (_, right) in enumerate(atoms)
        }
        for number, sample in enumerate(samples)
        for atoms in [sample.facts["vqa_list"]]
    }
    (here.folder / "table.json").write_text(json.dumps(table))
    found = here(
        "run", "geneval2", "--ckpt", "images:pictures", "--layout", "geneval2", "--wording", "own",
        "--judge", "scripted:table.json", "--out", "run", "--json", "--limit", str(n_prompts),
    ).json  # fmt: skip
    assert found["statuses"] == {"scored": sum(len(s.facts["skills"]) for s in samples)}
    assert found["headline"]["value"] == 0.5
    n_right = sum(1 - (number % 2) / len(sample.facts["skills"]) for number, sample in
                  enumerate(samples))  # fmt: skip
    assert found["extras"]["soft_tifa_am"]["value"] == pytest.approx(n_right / n_prompts)
    assert len(found["groups"]) == 13
    here("summarise", "run", "--export", "theirs")
    if n_prompts < 800:
        said = here("summarise", "geneval2", "--official", "theirs", code=2)
        assert f"scores of {n_prompts} prompts instead of 800" in said.err
        return
    official = here("summarise", "geneval2", "--official", "theirs", "--json").json
    assert official["headline"] == found["headline"]
    assert official["groups"] == found["groups"]
    text = here("summarise", "geneval2", "--official", "theirs").out
    assert "soft_tifa_gm: Score: 50.0" in text
    assert "Results for Atomicity=10\n" in text


def test_a_part_of_corebench_is_judged_and_comes_back_from_its_own_files(
    here: Shell, data: UpstreamData
) -> None:
    samples = chosen("corebench", data, 24)
    assert len({sample.group for sample in samples}) == 12
    pictures = [f"{sample.group}/{sample.id}-{n}.png" for sample in samples for n in range(4)]
    noises(here.folder / "pictures", pictures, side=2)
    # The first question about the first image of each prompt has no answer, the second a no.
    table = {
        f"{sample.id}/{n}": {
            str(index): "maybe" if n == index == 0 else ("no" if index == 1 else "yes")
            for index in range(len(sample.facts["Checklist"]))
        }
        for sample in samples
        for n in range(4)
    }
    (here.folder / "table.json").write_text(json.dumps(table))
    found = here(
        "run", "corebench", "--ckpt", "images:pictures", "--layout", "corebench", "--wording",
        "own", "--judge", "scripted:table.json", "--out", "run", "--json", "--limit", "24", code=1,
    ).json  # fmt: skip
    means: dict[str, list[float]] = {}
    for sample in samples:
        n = len(sample.facts["Checklist"])
        means.setdefault(sample.group, []).extend([(n - 2) / (n - 1), *[(n - 1) / n] * 3])
    groups = {name: sum(of) / len(of) for name, of in means.items()}
    assert values_of(found) == pytest.approx(groups)
    assert found["headline"]["value"] == pytest.approx(sum(groups.values()) / 12)
    assert found["statuses"]["unparsed"] == 24
    here("summarise", "run", "--export", "theirs", code=1)
    official = here("summarise", "corebench", "--official", "theirs", "--json", code=1).json
    assert values_of(official) == values_of(found)
    assert official["headline"]["value"] == found["headline"]["value"]
    text = here("summarise", "corebench", "--official", "theirs", code=1).out
    assert f"mean of 12 dimensions: {found['headline']['value']}" in text


@pytest.mark.parametrize(("language", "limit"), [("en", 160), ("zh", 24)])
def test_long_texts_are_read_and_come_back_from_upstreams_rows(
    here: Shell, data: UpstreamData, language: str, limit: int
) -> None:
    samples = chosen(f"longtext:{language}", data, limit)
    noises(here.folder / "pictures", [f"{s.id}_{n}.png" for s in samples for n in range(1, 5)])
    # The first image of each prompt has its last piece of text missing, if there are several.
    table = {
        f"{s.id}/{n}": {"text": "\n".join(s.facts["text"][: -1 if n == 0 else None]) or "x"}
        for s in samples
        for n in range(4)
    }
    (here.folder / "table.json").write_text(json.dumps(table))
    found = here(
        "run", f"longtext:{language}", "--ckpt", "images:pictures", "--layout", "longtext",
        "--wording", "own", "--judge", "scripted:table.json", "--out", "run", "--json",
        "--limit", str(limit),
    ).json  # fmt: skip
    assert found["statuses"] == {"scored": 4 * limit}
    assert (len(found["groups"]), found["partial"]) == (8, limit < 160)
    assert 0.8 < found["headline"]["value"] < 1.0
    assert set(found["extras"]) == {"short texts", "long texts", "mean over images"}
    here("summarise", "run", "--export", "theirs")
    rows = (here.folder / "theirs" / "results.jsonl").read_text().splitlines()
    assert len(rows) == 4 * limit
    words = ("summarise", f"longtext:{language}", "--official", "theirs")
    official = here(*words, "--json").json
    assert official["headline"] == found["headline"]
    assert official["groups"] == found["groups"]
    assert f"Text Score: {found['headline']['value']:.4f}" in here(*words).out


@pytest.mark.parametrize(("name", "limit"), [("oneig:en", 8), ("oneig:zh", 6)])
def test_grids_of_oneig_are_judged_and_come_back_from_upstreams_tables(
    here: Shell, data: UpstreamData, name: str, limit: int
) -> None:
    samples = chosen(name, data, limit)
    table = {}
    for number, sample in enumerate(samples):
        paths = [here.folder / f"{number}-{cell}.png" for cell in range(4)]
        noises(here.folder, [path.name for path in paths], side=8)
        # The last image of the first prompt is lost, which upstream's script fills with black.
        cells = dict(enumerate(map(Image.open, paths[: 3 if number == 0 else 4])))
        grid = here.folder / "pictures" / sample.group / "a-model" / f"{sample.id[-3:]}.webp"
        grid.parent.mkdir(parents=True, exist_ok=True)
        grid.write_bytes(grid_bytes(cells, name=sample.id))
        for cell in range(4):
            replies = {"text": sample.facts["text"]} if sample.group == "text" else {}
            asked = enumerate(sample.facts.get("questions", ()), start=1)
            replies |= {str(n): "no" if n == 1 and cell == 1 else "yes" for n, _ in asked}
            table[f"{sample.id}/{cell}"] = replies
    (here.folder / "table.json").write_text(json.dumps(table))
    found = here(
        "run", name, "--ckpt", "images:pictures", "--layout", "oneig", "--wording", "own",
        "--judge", "scripted:table.json", "--out", "run", "--json", "--limit", str(limit), code=1,
    ).json  # fmt: skip
    lost = 1 if samples[0].group == "text" else len(samples[0].facts["questions"])
    assert found["statuses"]["missing"] == lost
    assert found["headline"]["value"] is None
    assert found["groups"]["text"]["value"] == 1.0
    assert 0.7 < found["groups"]["alignment"]["value"] < 1.0
    here("summarise", "run", "--export", "theirs", code=1)
    words = ("summarise", name, "--official", "theirs/results")
    official = here(*words, "--json").json
    assert values_of(official) == pytest.approx(values_of(found), abs=1e-12)
    extras = {key: one["value"] for key, one in official["extras"].items()}
    assert extras == pytest.approx({k: one["value"] for k, one in found["extras"].items()})
    assert f"text: {found['groups']['text']['value']}" in here(*words).out
    # What was written can be judged again as it lies.
    again = here(
        "run", name, "--ckpt", "images:theirs/images", "--layout", "oneig", "--wording", "own",
        "--judge", "scripted:table.json", "--out", "again", "--json", "--limit", str(limit), code=1,
    ).report  # fmt: skip
    assert again["groups"] == found["groups"]


def values_of(report: Any) -> dict[str, float]:
    return {name: group["value"] for name, group in report["groups"].items()}


def test_a_part_of_wise_legacy_is_judged_in_three_scores(here: Shell, data: UpstreamData) -> None:
    samples = chosen("wise@legacy", data, 24)
    noises(here.folder / "pictures", [f"{sample.id}.png" for sample in samples])
    answer = "Consistency: 2\nRealism: 1\nAesthetic Quality: 0"
    found = judged(here, "wise@legacy", answer, "--limit", "24").json
    assert found["headline"]["value"] == pytest.approx(0.8)
    assert found["partial"] is True
    assert {k: v["value"] for k, v in found["extras"].items()} == {
        "consistency": 2.0, "realism": 1.0, "aesthetic_quality": 0.0,
    }  # fmt: skip


def test_grids_of_the_official_prompts_are_judged_and_come_back_from_upstreams_files(
    here: Shell, data: UpstreamData
) -> None:
    benchmark = Dpg(split="", protocol="official", data=data, table=invented_table())
    for number, sample in enumerate(choose_samples(benchmark.samples(), 24, seed=0)):
        paths = [here.folder / f"{number}-{cell}.png" for cell in range(4)]
        noises(here.folder, [path.name for path in paths], side=8 + 2 * (number % 3))
        pictures = here.folder / "pictures"
        pictures.mkdir(exist_ok=True)
        make_grid([Image.open(path) for path in paths]).save(pictures / f"{sample.id}.png")
    (pictures / "results.txt").write_text("upstream's script leaves its results here")
    grids = checkpoint_factory(f"images:{pictures}", options={"layout": "dpg"})
    plan = plan_run(benchmark, grids, out=here.folder / "run", limit=24)
    evaluation = open_evaluation(benchmark, "judge", judge=open_judge("scripted:?answer=0.8"))
    outcome = execute_plan(plan, evaluation, Work())
    assert outcome.report.headline.value == 1.0
    assert outcome.report.statuses == {"scored": 24 * 4 * 2}
    assert outcome.report.partial
    theirs = here.folder / "theirs"
    official_export.export_runs([outcome], theirs)
    for sample in plan.samples:
        with (
            Image.open(theirs / "images" / f"{sample.id}.png") as made,
            Image.open(pictures / f"{sample.id}.png") as given,
        ):
            assert made.tobytes() == given.tobytes()
    (theirs / "dpg_bench.csv").write_bytes(invented_table())
    official = here("summarise", "dpg", "--official", "theirs/results.txt", "--json").json
    assert official["headline"]["value"] == outcome.report.headline.value


def gedit_copy(folder: Path) -> Path:
    """GEdit-Bench in little, as its data set is published: two rows in each group and language."""
    datasets: Any = pytest.importorskip("datasets")
    noise(folder / "source.png", side=16)
    picture = {"bytes": (folder / "source.png").read_bytes(), "path": None}
    rows = [
        {
            "task_type": group,
            "key": f"{number}{group}",
            "instruction": f"do {number}",
            "instruction_language": language,
            "Intersection_exist": number == 0,
            "input_image": picture,
            "input_image_raw": picture,
        }
        for group in GROUPS
        for number in range(2)
        for language in ("en", "cn")
    ]
    made = datasets.Dataset.from_list(rows)
    for column in ("input_image", "input_image_raw"):
        made = made.cast_column(column, datasets.Image())
    datasets.DatasetDict({"train": made}).save_to_disk(str(folder / "copy"))
    return folder / "copy"


@pytest.mark.filterwarnings("ignore")  # of the library datasets, which has its own
def test_edited_images_are_judged_in_both_languages_and_come_back_from_upstreams_tables(
    alphabench: Shell, tmp_path: Path
) -> None:
    here = alphabench
    fetched = here("fetch", "gedit", "--from", gedit_copy(tmp_path), code=2)
    assert "44 rows" in fetched.out
    assert "vie_prompts.py" in fetched.err, "the judge's wording is not in that copy"
    data = UpstreamData(cache_dir=tmp_path / "cache")
    for language in ("en", "cn"):
        name = f"gedit:{language}"
        pictures = tmp_path / "pictures" / "a-model"
        for sample in chosen(name, data):
            noise(pictures / gedit_image_path(sample), side=12)
            noise((pictures / gedit_image_path(sample)).with_suffix("").with_name("x_SRCIMG.png"))
        found = judged(here, name, "[9, 4]", "--out", language).report
        assert found["headline"]["value"] == 4.0
        assert found["statuses"] == {"scored": 22}
        assert set(found["groups"]) == set(GROUPS)
        here("summarise", language, "--export", f"theirs-{language}")
        official = here("summarise", name, "--official", f"theirs-{language}", "--json").json
        assert official["headline"]["value"] == found["headline"]["value"]
        assert official["extras"]["semantics"]["value"] == 4.0
        # What was written can be judged again as it lies.
        again = here(
            "run", name, "--ckpt", f"images:theirs-{language}", "--layout", "gedit",
            "--wording", "own", "--judge", "scripted:?answer=[9, 4]", "--out", f"again-{language}",
            "--json",
        ).report  # fmt: skip
        assert again == found


def test_edits_of_nine_types_are_judged_officially_and_come_back_from_upstreams_files(
    here: Shell, data: UpstreamData
) -> None:
    content = json.loads(data.read("imgedit", "Benchmark/Basic/basic_edit.json"))
    for row in content.values():
        source = data.cache_dir / ARCHIVE / "singleturn" / row["id"]
        if not source.exists():
            noise(source, side=4)
    samples = chosen("imgedit", data, 90)
    noises(here.folder / "pictures", [f"{sample.id}.png" for sample in samples])
    reply = "Brief reasoning: fine.\nA: {}\nB: 5\nC: 3"
    table = {f"{s.id}/0": {"score": reply.format(int(s.id) % 5 + 1)} for s in samples}
    table[f"{samples[0].id}/0"] = {"score": "no score"}
    (here.folder / "table.json").write_text(json.dumps(table))
    words = ("--limit", "90", "--json", "--layout", "imgedit", "--judge", "scripted:table.json")
    found = here("run", "imgedit", "--ckpt", "images:pictures", *words, "--out", "run", code=1).json
    assert found["statuses"] == {"scored": 89, "unparsed": 1}
    scores = {s.id: round((int(s.id) % 5 + 1 + 8) / 3, 2) for s in samples[1:]}
    of = {kind: [scores[s.id] for s in samples[1:] if s.group == kind] for kind in found["groups"]}
    by_hand = {kind: round(sum(values) / len(values), 2) for kind, values in of.items()}
    assert {k: v["value"] for k, v in found["groups"].items()} == by_hand
    assert len(by_hand) == 9
    assert found["headline"]["value"] == pytest.approx(sum(by_hand.values()) / 9)
    here("summarise", "run", "--export", "theirs", code=1)
    for name in ("result.json", "average_score.json"):
        said = here("summarise", "imgedit", "--official", f"theirs/{name}", "--json", code=1)
        official = said.json
        assert official["headline"]["value"] == found["headline"]["value"]
        assert official["extras"]["mean of edits"]["value"] == pytest.approx(
            found["extras"]["mean of edits"]["value"], abs=1e-12
        )


@pytest.mark.parametrize("name", ["unigenbench:en", "unigenbench:zh-long"])
def test_a_part_of_unigenbench_is_judged_and_comes_back_from_its_own_files(
    here: Shell, data: UpstreamData, name: str
) -> None:
    samples = chosen(name, data, 16)
    pictures = [f"{sample.id}_{n}.png" for sample in samples for n in range(4)]
    noises(here.folder / "pictures", pictures, side=2)
    # The first image of each prompt has no list, the others miss their first test point.
    table = {}
    for sample in samples:
        n_points = len(sample.facts["points"])
        lists = f"<analysis>{['so'] * n_points}</analysis>", [0, *[1] * (n_points - 1)]
        reply = f"{lists[0]}\n<score>{lists[1]}</score>"
        for n in range(4):
            table[f"{sample.id}/{n}"] = {"points": reply if n else "none"}
    (here.folder / "table.json").write_text(json.dumps(table))
    found = here(
        "run", name, "--ckpt", "images:pictures", "--layout", "unigenbench", "--wording", "own",
        "--judge", "scripted:table.json", "--out", "run", "--json", "--limit", "16", code=1,
    ).json  # fmt: skip
    n_points = sum(len(sample.facts["points"]) for sample in samples)
    assert found["statuses"] == {"scored": 3 * n_points, "unparsed": n_points}
    assert found["extras"]["pooled"]["value"] == pytest.approx((n_points - 16) / n_points)
    here("summarise", "run", "--export", "theirs", code=1)
    official = here("summarise", name, "--official", "theirs/results", "--json", code=1).json
    assert values_of(official) == values_of(found)
    assert official["statuses"] == found["statuses"]
    assert official["split"] == name.partition(":")[2]
