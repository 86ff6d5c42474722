"""Records that take little room are what they were made of."""

from __future__ import annotations

import pickle
import sys
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from alphabench.runs.records import PackedDetail

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text("aä\n\U0001f642"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text("abcd"), PLAIN, max_size=4))
def test_a_packed_mapping_reads_as_the_mapping_it_was(content: dict[str, Any]) -> None:
    packed = PackedDetail(content)
    assert packed == content
    assert dict(packed) == content
    assert [packed.get(key) for key in "abcd"] == [content.get(key) for key in "abcd"]
    assert ("a" in packed, len(packed)) == ("a" in content, len(content))
    assert pickle.loads(pickle.dumps(packed)) == content


def test_it_takes_less_room() -> None:
    content = {"questions": [{"id": str(i), "p_yes": i / 7, "status": "scored"} for i in range(9)]}
    items = sum(map(sys.getsizeof, content["questions"]))
    packed = PackedDetail(content)
    assert sys.getsizeof(packed) + sys.getsizeof(packed._json) < items / 2
