"""DPG's published file formats: table, results, details, grids; all content is invented."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from PIL import Image

from alphabench.benchmarks.dpg.official_files import (
    cell_box,
    family_of,
    make_grid,
    read_details,
    read_results,
    read_table,
    split_grid,
)
from alphabench.benchmarks.dpg.official_results import summarise_dpg_results
from alphabench.core.errors import AlphaBenchError

HEADER = (
    "item_id,text,keywords,proposition_id,dependency,category_broad,category_detailed,tuple,"
    "question_natural_language\n"
)
TABLE = HEADER + (
    'a1,"A cat, a mat",,1,0,entity,whole,entity - whole (cat),Is there a cat?\n'
    'a1,"A cat, a mat",,2,"1, 3",relation,spatial,"relation - spatial (cat, mat)","A cat, on it?"\n'
    'a1,"A cat, a mat",,3,0,global,,global -  (photo),A photo?\n'
    "7,Two,,1,0,entity,whole,entity - whole (x),Is there a cat?\n"
)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.frombytes(
        "RGB", (width, height), random.Random(seed).randbytes(width * height * 3)
    )


def test_the_table_keeps_order_parents_and_the_category_before_the_bracket() -> None:
    table = read_table(TABLE.encode())
    assert list(table) == ["a1", "7"]
    first, second, third = table["a1"]
    assert (first.id, first.parents, first.category, first.row) == ("1", (), "entity - whole", 0)
    assert second.parents == ("1", "3")
    assert second.question == "A cat, on it?"
    assert (third.category, third.broad_category) == ("global -", "global")
    assert table["7"][0].row == 3


def test_a_later_block_of_rows_replaces_an_earlier_one_as_upstream_has_it() -> None:
    again = TABLE + "a1,A cat,,9,0,entity,whole,entity - whole (dog),Is there a dog?\n"
    assert [one.id for one in read_table(again.encode())["a1"]] == ["9"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "no column 'item_id'"),
        (HEADER.encode(), "no rows"),
        (b"a,b\n1,2\n", "no column"),
        ((HEADER + "a,t,,x,0,e,w,e - w (c),q\n").encode(), "an id that is no number"),
        ((HEADER + "a,t,,1,,e,w,e - w (c),q\n").encode(), "an id that is no number"),
        ((HEADER + "a,t,,1,0,e\n").encode(), "has no 'tuple'"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_a_damaged_table_is_refused(content: bytes, complaint: str) -> None:
    with pytest.raises(AlphaBenchError, match=complaint):
        read_table(content)


def test_results_are_read_with_commas_in_paths(tmp_path: Path) -> None:
    path = tmp_path / "res.txt"
    path.write_text(
        "out, new/a1.png, 1.0, 0.5, 0.75\nout, new/7.png, 0.0, 1e-05, 5e-06\nModel: images\n"
        "L1 category scores:\n\tentity: 40.0\n\tglobal: nan\nL2 category scores:\n"
        "\tglobal -: 12.5\nImage path: x\nSave results to: y\nDPG-Bench score: 37.5\n"
    )
    results = read_results(path)
    assert results.scores == {"a1": (1.0, 0.5), "7": (0.0, 1e-05)}
    assert results.broad["entity"] == 0.4
    assert results.broad["global"] != results.broad["global"]
    assert results.narrow == {"global -": 0.125}


@pytest.mark.parametrize("content", ["", "Model: x\n", "a.png, x, y\n", "a.png\n", "a.png, 1.0\n"])
def test_what_is_no_result_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "res.txt"
    path.write_text(content)
    with pytest.raises(AlphaBenchError, match=r"res\.txt"):
        read_results(path)
    with pytest.raises(AlphaBenchError, match="cannot be read"):
        read_results(tmp_path / "none.txt")


def test_an_answer_starts_where_the_question_ends(tmp_path: Path) -> None:
    path = tmp_path / "res_detail.txt"
    path.write_text(
        "g/a1.png, (0, 0, 8, 8), A cat, on it?, yes\n"
        "g/a1.png, (0, 0, 8, 8), Is there a cat?, Yes, it is\n"
        "g/a1.png, (8, 0, 16, 8), Is there a cat?, yes\n"
    )
    judged = read_details(path, read_table(TABLE.encode()))
    assert list(judged) == ["a1"]
    assert judged["a1"].images == ({"2": 1.0, "1": 0.0}, {"1": 1.0})


def test_two_files_of_one_item_are_two_results(tmp_path: Path) -> None:
    path = tmp_path / "res.txt"
    path.write_text("g/a1.png, 1.0, 1.0\r\ng/a1.jpg, 0.0, 0.0\r\ng/a1.jpg, 1.0, 1.0\r\n")
    assert list(read_results(path).scores) == ["a1", "g/a1.jpg", "g/a1.jpg (2)"]
    report = summarise_dpg_results(path)
    assert report.headline.value == pytest.approx(2 / 3)
    assert (report.headline.n_samples, report.partial) == (3, True)
    details = tmp_path / "res_detail.txt"
    asked = [f"(0, 0, 8, 8), {q}, " for q in ("A cat, on it?", "A photo?")]
    said = [("g/a1.png", "yes"), ("g/a1.jpg", "no")]
    details.write_text("".join(f"{file}, {q}{a}\r\n" for file, a in said for q in asked))
    judged = read_details(details, read_table(TABLE.replace('"1, 3"', '"3"').encode()))
    assert {name: one.score("official") for name, one in judged.items()} == {
        "a1": 1.0,
        "g/a1.jpg": 0.0,
    }


def test_a_question_with_the_text_of_the_first_row_keeps_its_own_answer(tmp_path: Path) -> None:
    table = HEADER + (
        "a1,t,,1,0,e,w,entity - whole (cat),Is there a cat?\n"
        "a1,t,,2,0,e,w,entity - whole (cat),Is there a cat?\n"
        "a1,t,,3,0,e,w,entity - whole (cat),Is there a cat?\n"
    )
    path = tmp_path / "res_detail.txt"
    lines = [f"g/a1.png, (0, 0, 8, 8), Is there a cat?, {a}\n" for a in ("yes", "no", "yes")]
    for given, answers in ((lines[1:], {"2": 0.0, "3": 1.0}), (lines, {"1": 1, "2": 0, "3": 1})):
        path.write_text("".join(given))
        judged = read_details(path, read_table(table.encode()))["a1"]
        assert judged.images == (answers,)
        assert judged.score("official") == 0.5


@pytest.mark.parametrize(
    "line",
    [
        "g/zz.png, (0, 0, 8, 8), Is there a cat?, yes",
        "g/a1.png, (0, 0, 8, 8), Is there a dog?, yes",
        "g/a1.png, Is there a cat?, yes",
    ],
)
def test_a_detail_that_fits_no_question_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "res_detail.txt"
    path.write_text(f"\n{line}\n")
    with pytest.raises(AlphaBenchError, match="line 2 of"):
        read_details(path, read_table(TABLE.encode()))


def test_families_are_what_ids_begin_with() -> None:
    assert [family_of(x) for x in ("partiprompts97", "COCOval2", "17")] == [
        "partiprompts", "COCOval", "numeric",
    ]  # fmt: skip


def test_cells_go_row_by_row() -> None:
    assert [cell_box(i, 8)[:2] for i in range(4)] == [(0, 0), (8, 0), (0, 8), (8, 8)]


def test_a_grid_is_split_into_the_images_it_was_made_of(tmp_path: Path) -> None:
    images = [noise(16, 16, seed) for seed in range(4)]
    path = tmp_path / "a1.png"
    make_grid(images).save(path)
    assert [one.tobytes() for one in split_grid(path)] == [one.tobytes() for one in images]
    assert [one.tobytes() for one in split_grid(path, side=16)] == [o.tobytes() for o in images]
    assert split_grid(path, cells=1)[0].size == (32, 32)


def test_a_single_image_given_for_a_grid_is_refused(tmp_path: Path) -> None:
    """Upstream would crop three black images from beyond its edge."""
    path = tmp_path / "a1.png"
    padded = Image.new("RGB", (32, 32))
    padded.paste(noise(16, 16))
    padded.save(path)
    with pytest.raises(AlphaBenchError, match=r"image 2 of 4 in .*a1\.png.* one colour"):
        split_grid(path)
    noise(16, 16).save(path)
    with pytest.raises(AlphaBenchError, match=r"a1\.png.* is 16 x 16 pixels, not 32 x 32"):
        split_grid(path, side=16)


@pytest.mark.parametrize("size", [(32, 30), (31, 31), (33, 32)])
def test_a_grid_of_another_shape_is_refused(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "a1.png"
    noise(*size).save(path)
    with pytest.raises(AlphaBenchError, match="pixels, not"):
        split_grid(path)


def test_a_file_that_is_no_picture_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a1.png"
    path.write_bytes(b"no picture")
    with pytest.raises(AlphaBenchError, match=r"a1\.png"):
        split_grid(path)


def test_images_that_do_not_tile_are_refused() -> None:
    with pytest.raises(AlphaBenchError, match="16 x 8"):
        make_grid([noise(16, 16), noise(16, 8), noise(16, 16), noise(16, 16)])
