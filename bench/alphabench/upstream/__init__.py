"""Official data of the benchmarks: pinned to commits, downloaded on request, verified on each use.

This package contains only the pins of that data: `pins/` has one JSON file for each data set.
"""

from alphabench.upstream.cache import FetchedFile, FetchReport, UpstreamData, default_cache_dir
from alphabench.upstream.pinned import Pin, PinnedFile, licence_of, pin_of, pinned_names, pins_of

__all__ = [
    "FetchReport",
    "FetchedFile",
    "Pin",
    "PinnedFile",
    "UpstreamData",
    "default_cache_dir",
    "licence_of",
    "pin_of",
    "pinned_names",
    "pins_of",
]
