"""Rows as a pandas data frame; pandas is imported when the first frame is made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from alphabench.core.errors import AlphaBenchError

if TYPE_CHECKING:
    import pandas as pd


def data_frame(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    """A frame with these columns, in this order, also where there is no row.

    Raises:
        AlphaBenchError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise AlphaBenchError(
            f"a data frame needs the package pandas: {error}", hint="pip install -e '.[notebook]'"
        ) from error
    return pd.DataFrame(list(rows), columns=list(columns))
