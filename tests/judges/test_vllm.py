"""vLLM as a judge: in the process, and behind a server that is asked like any other endpoint.

What needs vLLM is marked so, and runs in the environment whose interpreter the variable
ALPHABENCH_VLLM_PYTHON names (`pytest --vllm`); docs/judge_servers.md says how to make one.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import alphabench
from alphabench.core.errors import AlphaBenchError
from alphabench.judges import open_judge
from alphabench.judges.transformers import open_transformers
from alphabench.judges.vllm import VllmJudge, VllmOptions, open_vllm
from tests.support.ask_local_judge import questions_about
from tests.support.tiny_vlms import save_pictures, save_qwen3_vl, save_qwen25_vl
from tests.support.vllm_server import SETTINGS, serving

ROOT = Path(__file__).parents[2]
VARIABLE = "ALPHABENCH_VLLM_PYTHON"
AGREEMENT = 0.02
"""Mean difference in P(yes) that rounding in bfloat16 may make."""


class Served(NamedTuple):
    address: str
    model: Path
    pictures: Path
    by_vllm: Mapping[str, Any]
    """What the judge `vllm:` said in its own interpreter."""


@pytest.fixture(scope="module")
def python() -> Path:
    named = os.environ.get(VARIABLE)
    if not named:
        pytest.skip(f"{VARIABLE} names no interpreter with vLLM")
    return Path(named)


@pytest.fixture(scope="module", params=[save_qwen25_vl, save_qwen3_vl], ids=["2.5", "3"])
def served(
    request: pytest.FixtureRequest, python: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("served")
    model = request.param(root / "model")
    save_pictures(root / "pictures", 8)
    options = ["max_model_len=2048", "max_num_seqs=8", "enforce_eager=true"]
    asking = [str(python), "-m", "tests.support.ask_local_judge", "vllm", str(model)]
    done = subprocess.run(
        [*asking, str(root / "pictures"), str(root / "said.json"), *options],
        env={**os.environ, **SETTINGS, "PYTHONPATH": f"{ROOT}:{ROOT / 'bench'}"},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    by_vllm = json.loads((root / "said.json").read_text())
    with serving(python, model, name="tiny", log=root / "server.log") as address:
        yield Served(address, model, root / "pictures", by_vllm)


def p_yes(served: Served, spec: str, stream: str) -> list[float]:
    answers = list(open_judge(spec).ask(questions_about(served.pictures)[stream]))
    assert {answer.status for answer in answers} == {"scored"}, answers[0].reason
    return [answer.values[0] for answer in answers if answer.values]


def difference(left: Sequence[float], right: Sequence[float]) -> float:
    return sum(abs(a - b) for a, b in zip(left, right, strict=True)) / len(left)


def test_a_judge_of_vllm_is_refused_on_another_gpu_than_the_first() -> None:
    judge = VllmJudge("owner/name", VllmOptions())
    assert judge.on_device("cuda:0").location == "owner/name"
    with pytest.raises(AlphaBenchError, match="not on cuda:1"):
        judge.on_device("cuda:1")


@pytest.mark.vllm
@pytest.mark.timeout(900)
def test_server_and_both_in_process_judges_agree_in_p_yes(
    served: Served, record_property: Any
) -> None:
    for stream in ("p_yes", "swapped"):
        by_server = p_yes(served, f"{served.address}#tiny", stream)
        by_transformers = p_yes(served, f"transformers:{served.model}", stream)
        by_vllm = [answer["values"][0] for answer in served.by_vllm[stream]]
        found = {
            "server - vllm": difference(by_server, by_vllm),
            "server - transformers": difference(by_server, by_transformers),
            "vllm - transformers": difference(by_vllm, by_transformers),
        }
        record_property(stream, found)
        print(stream, found, "from", min(by_server), "to", max(by_server))
        assert max(found.values()) <= AGREEMENT
    assert max(by_server) - min(by_server) > 2 * AGREEMENT, "or all would agree in anything"


@pytest.mark.vllm
@pytest.mark.timeout(900)
def test_the_vllm_judge_reads_draws_and_fails_as_the_others_do(served: Served) -> None:
    said = served.by_vllm
    by_transformers = open_transformers(str(served.model), options={}, device="cpu")
    (words,) = by_transformers.ask(questions_about(served.pictures)["words"])
    assert words.reply is not None
    assert said["words"][0]["text"] == words.reply.text
    assert said["words"][0]["tokens_in"] == words.reply.tokens_in
    assert {len(answer["first_token"]) for answer in said["p_yes"]} == {20}
    drawn, again = ([a["text"] for a in said[key]] for key in ("drawn", "drawn again"))
    assert drawn == again
    assert len(set(drawn)) > 1
    assert [answer["status"] for answer in said["faulty"]] == ["scored", "failed", "scored"]
    assert said["identity"]["model"] == by_transformers.identity["model"]


@pytest.mark.vllm
@pytest.mark.timeout(900)
def test_whole_runs_are_judged_by_a_real_server(served: Served, tmp_path: Path) -> None:
    judge = open_judge(f"{served.address}#tiny", options={"handshake": "protocol"})
    for benchmark, options in (("tiif:mini", "?wording=own"), ("dvreward:mini", "")):
        evaluator = f"judge{options}" if options else None
        outcome = alphabench.evaluate(
            benchmark, "scene:", evaluator=evaluator, judge=judge, out=tmp_path / benchmark[:4]
        )
        report = outcome.report
        print(benchmark, report.headline, dict(report.statuses))
        assert not report.partial
        # A model of noise may write what cannot be read; no call may fail.
        assert report.statuses.get("failed", 0) == 0
        assert benchmark.startswith("tiif") or report.coverage == 1.0


@pytest.mark.vllm
def test_vllm_accepts_every_flag_of_the_documented_commands(python: Path) -> None:
    page = (ROOT / "docs" / "judge_servers.md").read_text().replace("\\\n", " ")
    commands = [shlex.split(line) for line in page.splitlines() if line.startswith("vllm serve ")]
    assert len(commands) == 3
    script = "\n".join(
        [
            "import json, sys",
            "from vllm.entrypoints.cli.serve import cmd_init",
            "from vllm.utils.argparse_utils import FlexibleArgumentParser",
            "parser = FlexibleArgumentParser()",
            "(serve,) = cmd_init()",
            "serve.subparser_init(parser.add_subparsers())",
            "for command in json.loads(sys.argv[1]):",
            "    parsed = parser.parse_args(command)",
            "    assert parsed.max_logprobs == 20 and parsed.enable_prefix_caching",
        ]
    )
    done = subprocess.run(
        [str(python), "-c", script, json.dumps([command[1:] for command in commands])],
        env={**os.environ, **SETTINGS},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed")
def test_without_vllm_a_sentence_names_the_extra_and_the_other_way() -> None:
    with pytest.raises(AlphaBenchError, match="not installed") as raised:
        open_judge("vllm:owner/name")
    assert "extra 'vllm'" in raised.value.hint
    assert "#model" in raised.value.hint


def test_bad_options_are_refused_before_anything_is_loaded() -> None:
    for options, part in (
        ({"tensor_parallel": "2"}, "tensor_parallel_size"),
        ({"gpu_memory_utilization": "1.5"}, "gpu_memory_utilization"),
        ({"batch_size": "0"}, "1 or more"),
    ):
        with pytest.raises(AlphaBenchError, match=part):
            open_vllm("x", options=options, device="cpu")
    with pytest.raises(AlphaBenchError, match="names no model"):
        open_vllm("", options={}, device="cpu")
