"""Redis: `Cache(profile)`; reads only."""

from opslib.cache.cache import Cache
from opslib.cache.columns import COLUMNS

__all__ = ["COLUMNS", "Cache"]
