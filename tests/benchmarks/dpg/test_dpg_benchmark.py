"""DPG from prompts to report, with judges that answer from truth or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from PIL import Image

from alphabench.benchmarks.dpg.benchmark import Dpg, open_dpg
from alphabench.benchmarks.dpg.official_files import split_grid
from alphabench.benchmarks.dpg.official_results import OFFICIAL, summarise_dpg_results
from alphabench.checkpoints.scene import open_scene
from alphabench.core.errors import AlphaBenchError
from alphabench.judges.scripted import Mishap, ScriptedJudge, ScriptedReply
from alphabench.questions import Question
from alphabench.reports.comparison import basis_of
from alphabench.runs.plan import requests_for
from alphabench.scenes.geneval_scenes import why_not_renderable
from alphabench.statistics import estimate
from alphabench.types import GeneratedImage, ProtocolName, Report, Verdict
from alphabench.upstream import UpstreamData, pin_of
from tests.support.truth import replies

NOWHERE = UpstreamData(cache_dir=Path("nowhere"))


def mini(protocol: ProtocolName = "official") -> Dpg:
    return open_dpg("mini", protocol=protocol, data=NOWHERE)


def drawn(
    folder: Path, **options: str
) -> tuple[list[GeneratedImage], Callable[[Question], ScriptedReply]]:
    """All images of the mini split as `scene:` draws them, and a judge's true replies."""
    checkpoint = open_scene("", options={"size": "64", **options})
    truths: dict[str, dict[str, str]] = {}
    made = []
    for request in requests_for(mini().samples(), 4, seed=0):
        path = folder / f"{request.id.replace('/', '_')}.png"
        checkpoint.render_request(request).image.save(path)
        truths[request.id] = replies("dpg", checkpoint, request)
        made.append(GeneratedImage(request=request, path=path, sha256=path.name, seconds=0.0))
    return made, lambda q: truths[q.image_id][q.id]


def judged(
    made: Sequence[GeneratedImage], script: Callable[[Question], ScriptedReply]
) -> list[Verdict]:
    return list(mini().evaluator(judge=ScriptedJudge(script)).evaluate(made))


def report_of(verdicts: Sequence[Verdict], protocol: ProtocolName = "official") -> Report:
    benchmark = mini(protocol)
    samples = benchmark.samples()
    return benchmark.summarise(samples, verdicts, evaluator="judge", all_samples=samples)


def test_the_mini_split_can_be_drawn_and_has_all_broad_categories() -> None:
    samples = mini().samples()
    assert [s.id for s in samples if why_not_renderable(s.facts) is not None] == []
    assert all(len(s.facts["check"]) == len(mini().questions(s)) for s in samples)
    categories = {one["category"].split(" ")[0] for s in samples for one in s.facts["propositions"]}
    assert categories == {"entity", "attribute", "relation", "other", "global"}
    parents = {p for s in samples for one in s.facts["propositions"] for p in one["parents"]}
    assert parents <= set("123456")


@pytest.mark.parametrize("protocol", ["official", "strict"])
def test_true_scenes_judged_truly_are_perfect(tmp_path: Path, protocol: ProtocolName) -> None:
    made, script = drawn(tmp_path)
    report = report_of(judged(made, script), protocol)
    assert report.headline.value == 1.0
    assert list(report.groups) == ["attribute", "entity", "relation", "other", "global"]
    assert all(figure.value == 1.0 for figure in (*report.groups.values(), *report.extras.values()))
    assert (report.coverage, report.partial) == (1.0, False)


def test_every_planted_error_costs_its_image_at_least_one_question(tmp_path: Path) -> None:
    made, script = drawn(tmp_path, error="1.0")
    verdicts = judged(made, script)
    assert {v.image_id for v in verdicts if v.value == 0.0} == {image.id for image in made}
    report = report_of(verdicts, "strict")
    assert report.headline.value is not None
    assert 0.2 < report.headline.value < 0.8
    assert report.groups["global"].value == 1.0


def test_the_report_of_one_protocol_shows_the_figures_of_the_other(tmp_path: Path) -> None:
    made, script = drawn(tmp_path, error="0.4")
    verdicts = judged(made, script)
    official, strict = report_of(verdicts), report_of(verdicts, "strict")
    assert official.headline.value != strict.headline.value
    assert official.headline.n_samples == 13, "upstream drops the first item"
    assert strict.headline.n_samples == 14
    assert official.extras["score, strict"] == strict.headline
    assert strict.extras["score, official"] == official.headline
    assert official.extras["entity, strict"] == strict.groups["entity"]
    assert strict.extras["entity, official"] == official.groups["entity"]
    assert official.groups["entity"].n_expected * 4 < strict.groups["entity"].n_expected


def test_faults_change_no_verdict_that_is_scored_and_are_counted(tmp_path: Path) -> None:
    made, script = drawn(tmp_path, error="0.3")
    sound = {(v.image_id, v.question_id): v.value for v in judged(made, script)}
    faults = ("garbage", "refusal", "server_error")

    def faulty(question: Question) -> ScriptedReply:
        number = sum(map(ord, question.image_id + question.id))
        return Mishap(kind=faults[number % 3]) if number % 10 < 3 else script(question)  # type: ignore[arg-type]

    verdicts = judged(made, faulty)
    assert all(v.value in (None, sound[v.image_id, v.question_id]) for v in verdicts)
    report = report_of(verdicts, "strict")
    assert sum(report.statuses.values()) == len(sound)
    assert report.coverage == report.statuses["scored"] / len(sound)
    whole = report_of(judged(made, script), "strict").headline.value
    assert report.bounds is not None
    assert whole is not None
    assert report.bounds[0] <= whole <= report.bounds[1]


def test_images_that_were_never_judged_are_missing(tmp_path: Path) -> None:
    made, script = drawn(tmp_path)
    report = report_of(judged(made[:8], script))
    assert report.partial
    assert report.statuses["missing"] == sum(
        len(mini().questions(i.request.sample)) for i in made[8:]
    )
    assert report_of([]).headline.value is None


def test_a_run_that_is_written_out_is_summarised_to_the_same_figures(tmp_path: Path) -> None:
    made, script = drawn(tmp_path, error="0.4")
    verdicts = judged(made, script)
    target = tmp_path / "official"
    paths = {image.id: image.path for image in made}
    for name, content in OFFICIAL.files(mini().samples(), paths, verdicts):
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        assert not isinstance(content, Path)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    published = summarise_dpg_results(target / "results.txt")
    ours = report_of(verdicts)
    assert published.headline.value == pytest.approx(ours.headline.value)
    assert published.headline.n_samples == ours.headline.n_samples == 13
    assert list(published.groups) == list(ours.groups)
    (target / "dpg_bench.csv").write_text(_table())
    for protocol in ("official", "strict"):
        anew = summarise_dpg_results(target / "results.txt", protocol=protocol)
        mine = report_of(verdicts, protocol)
        assert anew.headline.value == pytest.approx(mine.headline.value, rel=1e-15)
        assert anew.headline.n_scored == mine.headline.n_scored
        assert anew.groups == mine.groups
    assert len(list((target / "images").iterdir())) == 14
    cells = split_grid(target / "images" / "3.png")
    with Image.open(paths["3/2"]) as stored:
        assert cells[2].tobytes() == stored.convert("RGB").tobytes()


def _table() -> str:
    """The mini split's questions as upstream's table."""
    lines = ["item_id,proposition_id,dependency,tuple,question_natural_language"]
    for sample in mini().samples():
        for one in sample.facts["propositions"]:
            parents, question = ",".join(one["parents"]) or "0", one["question"]
            lines.append(f'{sample.id},{one["id"]},"{parents}",{one["category"]} (x),"{question}"')
    return "\n".join(lines) + "\n"


def test_an_item_that_lacks_images_or_answers_is_not_written(tmp_path: Path) -> None:
    made, script = drawn(tmp_path)
    paths = {image.id: image.path for image in made if image.id != "1/3"}
    verdicts = [v for v in judged(made, script) if v.image_id != "2/0"]
    files = {
        str(name): content for name, content in OFFICIAL.files(mini().samples(), paths, verdicts)
    }
    assert "images/1.png" not in files
    assert "images/2.png" in files
    results = files["results.txt"]
    assert isinstance(results, str)
    assert not {"images/0.png", "images/1.png", "images/2.png"} & {
        line.split(",")[0] for line in results.split("\n")
    }


def invented_table() -> bytes:
    """Two questions about every official prompt, in the form of upstream's table."""
    lines = ["item_id,text,proposition_id,dependency,tuple,question_natural_language"]
    for file in pin_of("dpg").files:
        item = Path(file.path).stem
        lines += [f"{item},t,1,0,entity - whole (x),Is it?", f"{item},t,2,1,other - count (x),Two?"]
    return ("\n".join(lines) + "\n").encode()


def test_a_whole_run_on_the_official_prompts_is_reported(shared: Path, tmp_path: Path) -> None:
    data = UpstreamData(cache_dir=tmp_path)
    data.fetch("dpg", source=shared / "upstream")
    benchmark = Dpg(split="", protocol="official", data=data, table=invented_table())
    samples = benchmark.samples()
    assert len(samples) == 1065
    assert all(sample.prompt == sample.prompt.strip() != "" for sample in samples)
    families = {sample.group: 0 for sample in samples}
    for sample in samples:
        families[sample.group] += 1
    assert (families["partiprompts"], families["numeric"], len(families)) == (324, 299, 12)
    made = [
        GeneratedImage(request=request, path=Path("x"), sha256="0", seconds=0.0)
        for request in requests_for(samples, 4, seed=0)
    ]
    evaluator = benchmark.evaluator(judge=ScriptedJudge({"1": "yes", "2": "no"}))
    report = benchmark.summarise(
        samples, list(evaluator.evaluate(made)), evaluator="judge", all_samples=samples
    )
    assert report.headline.value == 0.5
    assert report.headline.n_samples == 1064
    assert report.extras["score, strict"].n_samples == 1065
    assert not report.partial


def test_official_data_that_is_not_here_names_the_command() -> None:
    with pytest.raises(AlphaBenchError) as caught:
        open_dpg(data=NOWHERE).samples()
    assert "alphabench fetch dpg" in caught.value.hint
    with pytest.raises(AlphaBenchError, match="no prompt"):
        Dpg(
            split="",
            protocol="official",
            data=NOWHERE,
            table=b"item_id,proposition_id,dependency,tuple,question_natural_language\nzz,1,0,e,q\n",
        ).samples()


def test_other_questions_are_another_measurement() -> None:
    ours = open_dpg(data=NOWHERE)
    other = Dpg(split="", protocol="official", data=NOWHERE, table=invented_table())
    assert ours.card.data_digest != other.card.data_digest
    assert ours.card.id == "dpg@3c228f1"
    with pytest.raises(AlphaBenchError, match="there is no"):
        open_dpg("min", data=NOWHERE)


def test_the_headline_follows_from_what_a_comparison_uses(tmp_path: Path) -> None:
    made, script = drawn(tmp_path, error="0.4")
    verdicts = judged(made, script)
    basis = basis_of(mini())
    assert basis.gather is not None
    found = estimate(basis.gather(basis.samples, verdicts), basis.formula)
    headline = report_of(verdicts).headline
    assert (found.value, found.low, found.high) == (headline.value, headline.low, headline.high)
