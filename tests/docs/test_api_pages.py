"""Every public name stands on a page of the API reference, and says what it is."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from pathlib import Path

import pytest

import alphabench

PAGES = Path(__file__).parents[2] / "docs" / "api"
ENTRIES = Counter(
    name
    for page in PAGES.glob("*.md")
    for name in re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
)


@pytest.mark.parametrize("name", alphabench.__all__)
def test_a_public_name_has_one_entry_and_a_docstring(name: str) -> None:
    assert ENTRIES[f"alphabench.{name}"] == 1
    public = getattr(alphabench, name)
    assert inspect.getdoc(public)
    if inspect.isfunction(public):
        text = inspect.getdoc(public) or ""
        arguments = re.findall(r"^    (\w+): ", text, re.MULTILINE)
        parameters = [one for one in inspect.signature(public).parameters if one != "judge"]
        assert set(parameters) - set(arguments) == set(), "the docstring explains each argument"


def test_no_entry_of_the_reference_names_what_does_not_exist() -> None:
    missing = []
    for entry in ENTRIES:
        package, *parts = entry.split(".")
        found: object = __import__(package)
        for depth, part in enumerate(parts, start=1):
            if not hasattr(found, part):
                __import__(".".join([package, *parts[:depth]]))
            found = getattr(found, part, None)
        missing += [entry] if found is None else []
    assert missing == []
