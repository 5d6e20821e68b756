"""The corpus: workflows of every shape, and the histories that they leave when they are run for real.

Golden histories are made of it as well (``replay.golden``), so a shape is not changed once it is there: a new one is added.
"""

from replay import scheduling, shapes  # noqa: F401 - importing them is what fills the corpus
from replay.recording import SHAPES, Recording, record

__all__ = ["SHAPES", "Recording", "record"]
