"""Rasterises the world's shapes from the npm package of Microsoft's Fluent Emoji (MIT).

    npm pack @iconify-json/fluent-emoji-flat@1.2.6
    pip install resvg-py pillow numpy
    python tools/assets/build_icons.py iconify-json-fluent-emoji-flat-1.2.6.tgz

Writes one 256 x 256 RGBA PNG a category, the licence and a README. The project itself needs none of
this: the images are checked in, and this script says where they came from.
"""

from __future__ import annotations

import argparse
import io
import json
import tarfile
from pathlib import Path
from typing import Any, Final

SIDE: Final = 256
VERSION: Final = "1.2.6"
ICONS: Final = {
    "bicycle": "bicycle",
    "car": "automobile",
    "train": "locomotive",
    "boat": "sailboat",
    "stop sign": "stop-sign",
    "dog": "dog",
    "horse": "horse",
    "cow": "cow",
    "elephant": "elephant",
    "bear": "bear",
    "zebra": "zebra",
    "giraffe": "giraffe",
    "backpack": "backpack",
    "umbrella": "umbrella",
    "handbag": "handbag",
    "suitcase": "luggage",
    "sports ball": "soccer-ball",
    "skateboard": "skateboard",
    "wine glass": "wine-glass",
    "apple": "red-apple",
    "broccoli": "broccoli",
    "carrot": "carrot",
    "hot dog": "hot-dog",
    "pizza": "pizza",
    "donut": "doughnut",
    "cake": "birthday-cake",
    "chair": "chair",
    "couch": "couch-and-lamp",
    "potted plant": "potted-plant",
    "bed": "bed",
    "toilet": "toilet",
    "tv": "television",
    "laptop": "laptop",
    "computer keyboard": "keyboard",
    "cell phone": "mobile-phone",
    "book": "open-book",
    "clock": "mantelpiece-clock",
    "vase": "amphora",
    "scissors": "scissors",
    "toothbrush": "toothbrush",
}
"""COCO name as GenEval spells it -> name in the set. Chosen so that no two share a silhouette."""
LAMP_COLOURS: Final = ("#9b9b9b", "#ffb02e")
"""The paths of `couch-and-lamp` that are the lamp: an icon shows one object."""

LICENCE: Final = """\
MIT License

Copyright (c) Microsoft Corporation.

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""
README: Final = """\
# The shapes of the synthetic world

Rasterised by `tools/assets/build_icons.py`; do not edit by hand.

- Set: Fluent Emoji, flat style, Copyright (c) Microsoft Corporation, <https://github.com/microsoft/fluentui-emoji>
- Taken from: npm package `@iconify-json/fluent-emoji-flat` {version}, whose `info.json` and
  `package.json` state the licence MIT
- Licence: MIT, see `LICENSE` in this folder
- Changes: rasterised to {side} x {side} pixels, the longest side of the shape filling the
  image; of `couch-and-lamp` only the couch

| category | icon |
|---|---|
{rows}
"""


def read_package(tarball: Path) -> dict[str, Any]:
    """The icons of the package, after checking that it declares the licence we ship under."""
    with tarfile.open(tarball) as archive:

        def read(name: str) -> dict[str, Any]:
            member = archive.extractfile(f"package/{name}")
            assert member is not None, name
            content: dict[str, Any] = json.load(member)
            return content

        spdx, version = read("info.json")["license"]["spdx"], read("package.json")["version"]
        if (spdx, version) != ("MIT", VERSION):
            raise SystemExit(
                f"{tarball} is version {version} under {spdx}, not {VERSION} under MIT"
            )
        icons: dict[str, Any] = read("icons.json")
        return icons


def svg_of(package: dict[str, Any], name: str) -> str:
    """One icon as an SVG document; the couch without its lamp."""
    icon = package["icons"][name]
    width = icon.get("width", package["width"])
    height = icon.get("height", package["height"])
    body: str = icon["body"]
    if name == "couch-and-lamp":
        paths = body.split("<path")
        body = "<path".join(p for p in paths if not any(c in p for c in LAMP_COLOURS)) + "</g>"
        body = body.replace("</g></g>", "</g>")
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
    return f'{head} width="{width * 32}" height="{height * 32}">{body}</svg>'


def rasterise(svg: str) -> bytes:
    """A PNG with the visible shape centred, its longest side filling the image."""
    import resvg_py  # type: ignore[import-not-found]  # needed here only
    from PIL import Image

    drawn = Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg)))).convert("RGBA")
    shape = drawn.crop(drawn.getchannel("A").getbbox())
    scale = SIDE / max(shape.size)
    size = (max(1, round(shape.width * scale)), max(1, round(shape.height * scale)))
    shape = shape.resize(size, Image.Resampling.LANCZOS)
    canvas = Image.new("RGBA", (SIDE, SIDE))
    canvas.paste(shape, ((SIDE - size[0]) // 2, (SIDE - size[1]) // 2))
    # 64 colours per icon keep a flat drawing intact and its file small.
    small = canvas.quantize(64, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    out = io.BytesIO()
    small.save(out, "PNG", optimize=True)
    return out.getvalue()


def main() -> None:
    """Write every icon, the licence and the README."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("tarball", type=Path)
    default = Path(__file__).parents[2] / "bench/alphabench/scenes/icons"
    parser.add_argument("--out", type=Path, default=default)
    arguments = parser.parse_args()
    package = read_package(arguments.tarball)
    arguments.out.mkdir(parents=True, exist_ok=True)
    total = 0
    for category, name in ICONS.items():
        png = rasterise(svg_of(package, name))
        (arguments.out / f"{category.replace(' ', '_')}.png").write_bytes(png)
        total += len(png)
    rows = "\n".join(f"| {category} | `{name}` |" for category, name in ICONS.items())
    (arguments.out / "README.md").write_text(README.format(version=VERSION, side=SIDE, rows=rows))
    (arguments.out / "LICENSE").write_text(LICENCE)
    print(f"{len(ICONS)} icons, {total / 1024:.0f} KiB, in {arguments.out}")


if __name__ == "__main__":
    main()
