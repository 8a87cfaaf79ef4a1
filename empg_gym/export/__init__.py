"""Episodes in the formats of other tools: chat messages, data for supervised fine-tuning, and Parquet data sets."""

from empg_gym.export.formats import FORMATS, export
from empg_gym.export.parquet import read_parquet

__all__ = ["FORMATS", "export", "read_parquet"]
