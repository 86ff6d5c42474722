"""Benchmarks are registered by one row each, in the package or by another one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from alphabench import registry
from alphabench.cli import main
from alphabench.core.errors import AlphaBenchError

FACTORY = "outside_benchmark:open_colours"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the import path that looks like an installed package with one benchmark."""
    code = "from alphabench.registry import BenchmarkEntry\n"
    code += "def open_colours(split='', **_):\n    return None\n"
    code += f"ROW = BenchmarkEntry(factory={FACTORY!r}, listed=('colours', 'colours:mini'))\n"
    (tmp_path / "outside_benchmark.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "outside_benchmark", raising=False)
    return tmp_path


def register(folder: Path, reference: str, group: str = "alphabench.benchmarks") -> None:
    info = folder / "outside-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\ncolours = {reference}\n")


def test_every_part_of_every_row_exists() -> None:
    for name in registry.benchmark_names():
        entry = registry.benchmark_entry(name)
        for reference in (entry.factory, *entry.official_formats.values(), entry.dataset):
            assert not reference or registry.load_object(reference) is not None


def test_another_package_registers_a_benchmark_by_the_same_row(install: Path) -> None:
    register(install, "outside_benchmark:ROW")
    assert "colours" in registry.benchmark_names()
    assert registry.benchmark_entry("colours").listed == ("colours", "colours:mini")


def test_the_factory_alone_is_enough_to_register_a_benchmark(install: Path) -> None:
    register(install, FACTORY)
    assert registry.benchmark_entry("colours") == registry.BenchmarkEntry(factory=FACTORY)


def test_installed_packages_are_looked_up_once_for_all_groups(install: Path) -> None:
    register(install, FACTORY)
    assert "colours" in registry.benchmark_names()
    (install / "outside-1.0.dist-info" / "entry_points.txt").unlink()
    assert "colours" in registry.benchmark_names()
    assert [point.name for point in registry.registered("alphabench.benchmarks")].count(
        "colours"
    ) == 1


def test_names_of_other_packages_are_listed_without_importing_them(install: Path) -> None:
    register(install, FACTORY)
    registry.benchmark_names()
    assert "outside_benchmark" not in sys.modules


def test_an_entry_point_that_is_gone_is_one_sentence(install: Path) -> None:
    register(install, "outside_benchmark:moved")
    with pytest.raises(AlphaBenchError, match="'colours' of 'outside' cannot be loaded") as caught:
        registry.benchmark_entry("colours")
    assert "install that package again" in caught.value.hint


def test_a_command_of_another_package_that_is_gone_is_no_traceback(
    install: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    register(install, "outside_benchmark:moved", "alphabench.commands")
    with pytest.raises(SystemExit) as caught:
        main(["list"])
    assert caught.value.code == 2
    assert "'colours' of 'outside' cannot be loaded" in capsys.readouterr().err


def test_an_unknown_benchmark_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(AlphaBenchError) as caught:
        registry.benchmark_entry("genevl")
    assert "geneval" in caught.value.hint


@pytest.mark.parametrize("group", ["alphabench.evaluator_factories", "alphabench.examiners"])
def test_an_evaluator_factory_is_found_under_its_group_and_under_the_older_name(
    install: Path, group: str
) -> None:
    register(install, FACTORY, group)
    assert registry.load("evaluator_factory", "colours").__name__ == "open_colours"


def test_a_yaml_file_without_its_prefix_is_named_with_it() -> None:
    with pytest.raises(AlphaBenchError) as caught:
        registry.benchmark_entry("own.yaml")
    assert caught.value.hint == "a benchmark in a YAML file is named file:own.yaml"
