"""The sticky cache: replayers of runs that are parked, least recently used first out."""

from __future__ import annotations

from collections import OrderedDict

from durable.kernel.replayer import Replayer


class StickyCache:
    """Replayers by run id, each at the end of the history that it has seen.

    Args:
        capacity: how many to keep; 0 evicts every run after every turn.

    Attributes:
        hits, misses: how often a wanted run was there.
        stubborn: coroutines that would not close when their run was evicted.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.hits = 0
        self.misses = 0
        self.stubborn = 0
        self._replayers: OrderedDict[str, Replayer] = OrderedDict()

    def put(self, run_id: str, replayer: Replayer) -> None:
        """Keep a replayer, evicting the one that was not used for longest."""
        self._replayers[run_id] = replayer
        self._replayers.move_to_end(run_id)
        while len(self._replayers) > self.capacity:
            _, oldest = self._replayers.popitem(last=False)
            self.stubborn += oldest.evict()

    def take(self, run_id: str, seq: int) -> Replayer | None:
        """Hand out the replayer of a run if it stands at event ``seq``; one that stands elsewhere is evicted."""
        replayer = self._replayers.pop(run_id, None)
        if replayer is not None and replayer.recorder.seq == seq:
            self.hits += 1
            return replayer
        self.misses += 1
        if replayer is not None:
            self.stubborn += replayer.evict()
        return None

    def clear(self) -> None:
        """Evict all."""
        while self._replayers:
            _, replayer = self._replayers.popitem()
            self.stubborn += replayer.evict()

    def __len__(self) -> int:
        return len(self._replayers)
