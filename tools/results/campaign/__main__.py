"""python -m tools.results.campaign TABLE: runs a table of trainings over seeds and keeps numbers.

    TABLE                            runs what is not kept, then writes the page
    TABLE --status                   how far it is
    TABLE --write-page               the page from the kept numbers; trains nothing
    TABLE --only CONDITION --seeds 0 a row from scratch, in a scratch folder, compared with the kept

Each process uses one core. It can be stopped at any moment, by kill -9 too: the same command goes
on where it was. A process that fails stops no other one.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from alphabench.core.errors import AlphaBenchError
from alphabench.upstream import UpstreamData, default_cache_dir
from tools.results.campaign.again import repeat_rows
from tools.results.campaign.evidence import Evidence
from tools.results.campaign.jobs import JobOutcomes, run_all_jobs
from tools.results.campaign.page import write_campaign_page
from tools.results.campaign.plan import Campaign
from tools.results.campaign.status import status_text
from tools.results.campaign.table import CampaignTable, TableCell, load_table, table_cells

EVIDENCE = Path("docs/results/evidence")
WORK = Path("runs/campaigns")
_ONE_CORE = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def main(words: Sequence[str] | None = None) -> None:
    """Parses the words of the command line, does it, and exits."""
    options = _parser().parse_args(words)
    try:
        sys.exit(_run(options))
    except AlphaBenchError as error:
        sys.stderr.write(f"error: {error.message}\nhint: {error.hint}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stderr.write("stopped; the same command goes on\n")
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.results.campaign",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("table", type=Path, help="a file such as those in tools/results/campaigns")
    parser.add_argument("--jobs", type=int, default=2, help="processes at once (default: 2)")
    parser.add_argument("--only", metavar="CONDITION", help="repeat this row from scratch")
    parser.add_argument("--seeds", help="of the row, such as 0,1 (default: all of the table)")
    parser.add_argument("--status", action="store_true", help="print how far it is")
    parser.add_argument("--write-page", action="store_true", help="from the kept numbers alone")
    parser.add_argument("--evidence", type=Path, default=EVIDENCE, help="where tables keep numbers")
    parser.add_argument("--work", type=Path, default=WORK, help="where trainings and runs are")
    return parser


def _run(options: argparse.Namespace) -> int:
    """The exit code."""
    table = load_table(options.table)
    campaign = Campaign(
        table=table,
        work=options.work.resolve(),
        evidence=Evidence(folder_of_tables=options.evidence, table=table),
        data=UpstreamData(cache_dir=default_cache_dir()),
    )
    if options.status:
        print(status_text(campaign))
        return 0
    if options.write_page:
        print(write_campaign_page(campaign))
        return 0
    if options.only is not None:
        return _repeat(campaign, options)
    outcome = run_all_jobs(
        campaign.jobs(),
        at_once=options.jobs,
        environment={**os.environ, **_ONE_CORE},
        report=_say,
    )
    print(write_campaign_page(campaign))
    return _code(outcome)


def _repeat(campaign: Campaign, options: argparse.Namespace) -> int:
    cells = chosen_cells(campaign.table, options.only, options.seeds)
    scratch = campaign.work / f"{campaign.table.name}-again"
    shutil.rmtree(scratch, ignore_errors=True)
    outcome = repeat_rows(
        campaign,
        cells,
        scratch,
        at_once=options.jobs,
        environment={**os.environ, **_ONE_CORE},
        report=_say,
    )
    return _code(outcome)


def chosen_cells(table: CampaignTable, condition: str, seeds: str | None) -> list[TableCell]:
    """The cells of a row.

    Raises:
        AlphaBenchError: the table has no such row or seed.
    """
    found = [cell for cell in table_cells(table) if cell.condition == condition]
    if not found:
        raise AlphaBenchError(
            f"the table has no condition {condition!r}",
            hint=f"one of {', '.join(table.conditions)}",
        )
    if seeds is None:
        return found
    wanted = set(seeds.split(","))
    chosen = [cell for cell in found if str(cell.seed) in wanted]
    if len(chosen) < len(wanted):
        known = ", ".join(str(cell.seed) for cell in found)
        raise AlphaBenchError(
            f"{condition!r} has no seeds {seeds!r}", hint=f"its seeds in the table are {known}"
        )
    return chosen


def _code(outcome: JobOutcomes) -> int:
    for name, sentence in outcome.failed.items():
        sys.stderr.write(f"failed: {name}: {sentence}\n")
    return 1 if outcome.failed else 0


def _say(message: str) -> None:
    print(message, flush=True)


if __name__ == "__main__":
    main()
