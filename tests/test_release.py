"""A release states one version everywhere, and its notes are its part of the changelog."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from tools.release import release_notes

ROOT = Path(__file__).parents[1]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_citation_names_the_version_and_the_date_of_the_release() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == VERSION
    assert f"## {VERSION} ({citation['date-released']})" in CHANGELOG


def test_versions_stand_newest_first() -> None:
    versions = re.findall(r"^## (\d+)\.(\d+)\.(\d+) \([0-9-]+\)$", CHANGELOG, flags=re.MULTILINE)
    numbers = [tuple(map(int, version)) for version in versions]
    assert len(numbers) >= 2
    assert numbers == sorted(numbers, reverse=True)


def test_the_notes_of_a_release_are_its_part_of_the_changelog() -> None:
    newer = "## 0.2.0 (2026-01-02)\n\n- new\n\n### Fixed\n\n- b\n\n"
    text = f"# Changelog\n\n{newer}## 0.1.0 (2026-01-01)\n\n- old\n"
    assert release_notes(text, "0.2.0") == "- new\n\n### Fixed\n\n- b"
    assert release_notes(text, "0.1.0") == "- old"


def test_notes_of_a_version_without_entries_are_refused() -> None:
    with pytest.raises(ValueError, match=r"no entries for 9\.9\.9; it has 0\.1\.0"):
        release_notes("# Changelog\n\n## 0.1.0 (2026-01-01)\n\n- old\n", "9.9.9")
