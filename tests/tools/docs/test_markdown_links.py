"""Links of markdown pages."""

from __future__ import annotations

import pytest

from tools.docs.markdown_links import is_relative, rewritten, targets


@pytest.mark.parametrize(
    ("markdown", "found"),
    [
        ("[a](b.md) and ![c](d.png)", ["b.md", "d.png"]),
        ("[two\nlines](b.md#c)", ["b.md#c"]),
        ("[![badge](a.svg)](b.md)", ["a.svg", "b.md"]),
        ('[a](b.md "title")', ["b.md"]),
        ("[a]: b.md\n", ["b.md"]),
        ('<img src="a.png" width="200">', ["a.png"]),
        ("`[a](b.md)` [c](d.md)", ["d.md"]),
        ("``x ` [a](b.md)`` [c](d.md)", ["d.md"]),
        ("[`code`](b.md)", ["b.md"]),
        ("```bash\n[a](b.md)\n```\n[c](d.md)\n", ["d.md"]),
        ("~~~~\n~~~\n[a](b.md)\n~~~~\n[c](d.md)\n", ["d.md"]),
        ("```\nnever closed [a](b.md)", []),
    ],
)
def test_links_are_found_outside_of_code(markdown: str, found: list[str]) -> None:
    assert targets(markdown) == found


def test_rewriting_changes_links_and_nothing_else() -> None:
    page = "# A\n\n[a](b.md) `[a](b.md)`\n\n```\n[a](b.md)\n```\n"
    assert rewritten(page, lambda target: target) == page
    assert rewritten(page, str.upper) == page.replace("[a](b.md) ", "[a](B.MD) ", 1)


@pytest.mark.parametrize("target", ["https://a.b/c", "mailto:a@b.c", "#anchor", "//a.b/c"])
def test_addresses_and_anchors_are_not_relative(target: str) -> None:
    assert not is_relative(target)
    assert is_relative("../a/b.py")
