"""PostgreSQL: `Database(profile)`; reads only."""

from opslib.database.columns import COLUMNS
from opslib.database.database import Database

__all__ = ["COLUMNS", "Database"]
