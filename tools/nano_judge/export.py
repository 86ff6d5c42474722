"""Writes the trained judge as the folder that is shipped, weights in bfloat16.

python -m tools.nano_judge.export WORK FOLDER
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from tools.nano_judge.design import make_network, save_folder
from tools.nano_judge.train import load_judge_tokenizer


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("folder", type=Path)
    chosen = parser.parse_args()
    _export(chosen.work, chosen.folder)


def _export(work: Path, folder: Path) -> None:
    """The folder for what `work` has come to."""
    tokenizer = load_judge_tokenizer(work)
    save_folder(folder, trained(work, tokenizer).bfloat16(), tokenizer)


def trained(work: Path, tokenizer: Any) -> Any:
    """The network with the weights in `work`, float32."""
    network = make_network(tokenizer)
    kept = torch.load(work / "judge.pt", weights_only=True)["whole"]
    prefix = "network."
    own = {k[len(prefix) :]: v for k, v in kept.items() if k.startswith(prefix)}
    network.load_state_dict(own)
    return network.eval()


if __name__ == "__main__":
    main()
