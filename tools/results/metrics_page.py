"""python -m tools.results.metrics_page: writes the tables of docs/training/metrics.md."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alphatrainers.reporting.metric_names import metrics_page_tables

METRICS_PAGE: Final = Path("docs", "training", "metrics.md")
BEGIN: Final = "<!-- metrics:begin -->\n"
END: Final = "<!-- metrics:end -->"


def with_metric_tables(page: str) -> str:
    """The page with the tables between its two marks as they stand in the code now."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{metrics_page_tables()}\n{END}{after}"


def main() -> None:
    """Write the page anew."""
    page = METRICS_PAGE.read_text(encoding="utf-8")
    METRICS_PAGE.write_text(with_metric_tables(page), encoding="utf-8")


if __name__ == "__main__":
    main()
