"""Instructions for edits of drawn scenes, in English and in Chinese, each in several wordings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from alphabench.scenes.scene_questions import a_noun, noun
from alphabench.scenes.small_world import SMALL_CATEGORIES
from tools.nano_judge.view import PLACED

_MATERIALS: Final = {"brown": "wood", "white": "stone", "black": "iron"}
_TONES: Final = {
    "white": "white", "grey": "grey", "dark": "black", "sand": "the colour of sand",
    "sky": "light blue", "navy": "dark blue",
}  # fmt: skip
_NOUNS: Final = dict(
    zip(
        SMALL_CATEGORIES,
        (
            "苹果", "自行车", "船", "书", "蛋糕", "汽车", "椅子", "钟", "沙发", "狗", "甜甜圈",
            "长颈鹿", "披萨", "火车", "雨伞", "花瓶",
        ),
        strict=True,
    )
)  # fmt: skip
_COLOURS: Final = {
    "red": "红色", "orange": "橙色", "yellow": "黄色", "green": "绿色", "blue": "蓝色",
    "purple": "紫色", "pink": "粉色", "brown": "棕色", "black": "黑色", "white": "白色",
}  # fmt: skip
_GROUNDS: Final = {
    "white": "白色", "grey": "灰色", "dark": "黑色", "sand": "沙子的颜色", "sky": "天蓝色",
    "navy": "深蓝色",
}  # fmt: skip
_SIDES: Final = {"left of": "左边", "right of": "右边", "above": "上面", "below": "下面"}
_BESIDE: Final = {**_SIDES, "above": "上方", "below": "下方"}


def english(edit: Mapping[str, Any]) -> tuple[str, ...]:  # noqa: PLR0911  (one a kind of edit)
    """The instruction in several wordings."""
    name, colour = noun(edit["class"]) if "class" in edit else "", edit.get("color", "")
    relation, target = edit.get("position") or ("", "")
    place = f"{PLACED.get(relation, '')} the {target}"
    match edit["op"]:
        case "add":
            thing = a_noun(edit["class"], colour)
            return (f"Add {thing} {place}.", f"Put {thing} {place}.")
        case "move":
            side = place.replace("left of", "left side of").replace("right of", "right side of")
            return (f"Move the {name} {side}.", f"Move the {name} {place}.")
        case "remove":
            return (
                f"Remove the {name}.",
                f"Take the {name} away.",
                f"Delete the {name} from the picture.",
            )
        case "replace":
            into = a_noun(edit["with"])
            return (f"Replace the {name} with {into}.", f"Turn the {name} into {into}.")
        case "recolour":
            words: tuple[str, ...] = (
                f"Make the {name} {colour}.",
                f"Change the colour of the {name} to {colour}.",
                f"Paint the {name} {colour}.",
            )
            if (material := _MATERIALS.get(colour)) is None:
                return words
            made = f"{colour} {material}"
            return (*words, f"Make the {name} out of {made}.", f"Turn the {name} into {made}.")
        case "style":
            forms = (
                "Redraw all objects as {} shadows.", "Redraw everything in {} chalk.",
                "Redraw the picture with {} ink alone.", "Make all objects {}.",
            )  # fmt: skip
            return tuple(form.format(colour) for form in forms)
    tone = edit["ground"]["tone"]
    light = {
        "dark": ("Turn day into night.",),
        "sky": ("Turn the night into a bright day.",),
        "navy": ("Turn the sun of the desert into dark blue evening light.",),
    }
    words = (f"Change the background to {_TONES[tone]}.", f"Make the background {_TONES[tone]}.")
    return (*words, *light.get(tone, ()))


def chinese(edit: Mapping[str, Any]) -> tuple[str, ...]:  # noqa: PLR0911  (one a kind of edit)
    """The same in Chinese."""
    name, colour = _NOUNS.get(edit.get("class", ""), ""), _COLOURS.get(edit.get("color", ""), "")
    relation, target = edit.get("position") or ("", "")
    match edit["op"]:
        case "add":
            where = f"在{_NOUNS[target]}{_BESIDE[relation]}加一"
            return (f"{where}个{colour}的{name}。", f"{where}只{colour}的{name}。")
        case "move":
            return (f"把{name}移到{_NOUNS[target]}的{_SIDES[relation]}。",)
        case "remove":
            return (f"把{name}去掉。", f"把{name}拿走。", f"把{name}从图片中删除。")
        case "replace":
            into = _NOUNS[edit["with"]]
            return (f"把{name}换成{into}。", f"把{name}变成{into}。")
        case "recolour":
            words = (
                f"把{name}变成{colour}。",
                f"把{name}的颜色改成{colour}。",
                f"把{name}涂成{colour}。",
            )
            made = {"brown": "木头", "white": "石头", "black": "铁"}.get(edit["color"])
            if made is None:
                return words
            return (
                *words,
                f"把{name}换成{colour}{made}做的。",
                f"把{name}变成{colour}{made}做的。",
            )
        case "style":
            return (
                f"把所有物体重画成{colour}影子。", f"用{colour}粉笔重画所有东西。",
                f"只用{colour}墨水重画这张图。",
            )  # fmt: skip
    tone = edit["ground"]["tone"]
    light = {
        "dark": ("把白天变成黑夜。",),
        "sky": ("把黑夜变成明亮的白天。",),
        "navy": ("把沙漠的阳光变成深蓝色的暮光。",),
    }
    return (f"把背景换成{_GROUNDS[tone]}。", f"把背景变成{_GROUNDS[tone]}。", *light.get(tone, ()))
