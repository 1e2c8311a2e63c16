"""The queue of a simulation: only as much of it as could be placed is looked at. Pure but for its own state.

Jobs that ask for the same stand behind each other. Of them, no more can start than fit into all the GPUs that are free,
whatever else starts: the rest would be refused, so that leaving it out changes no placement. A test holds it to that.
"""

from bisect import insort
from collections.abc import Iterator
from datetime import datetime
from heapq import merge
from itertools import islice
from operator import itemgetter

from scalar.jobs.model import Job, Tier

_Key = tuple[bool, datetime, str]
_Alike = tuple[int, int, Tier, str, bool]
"""(GPUs, nodes, tier, organisation, whether its deadline presses)."""


class Queue:
    def __init__(self) -> None:
        self._alike: dict[_Alike, list[tuple[_Key, Job]]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, job: Job, *, pressing: bool = False) -> None:
        """`pressing`: it goes first like a fast one."""
        tier = job.spec.tier
        alike = self._alike.setdefault(_alike(job, pressing=pressing), [])
        entry = ((tier is Tier.FLEX and not pressing, job.submitted_at, job.id), job)
        if not alike or alike[-1][0] < entry[0]:
            alike.append(entry)
        else:
            insort(alike, entry, key=itemgetter(0))
        self._count += 1

    def press(self, job: Job) -> None:
        """If it still waits: from now on its deadline presses."""
        key = _alike(job, pressing=False)
        there = self._alike.get(key, [])
        left = [entry for entry in there if entry[1].id != job.id]
        if len(left) == len(there):
            return
        if left:
            self._alike[key] = left
        else:
            del self._alike[key]
        self._count -= 1
        self.add(job, pressing=True)

    def remove(self, placed: set[str]) -> None:
        for key, alike in list(self._alike.items()):
            if any(job.id in placed for _, job in islice(alike, len(placed))):
                left = [entry for entry in alike if entry[1].id not in placed]
                self._alike[key] = left
                if not left:
                    del self._alike[key]
        self._count = sum(len(alike) for alike in self._alike.values())

    def that_might_start(self, free_gpus: int) -> list[Job]:
        heads = [islice(alike, free_gpus // (gpus * nodes)) for (gpus, nodes, *_), alike in self._alike.items()]
        return [job for _, job in merge(*heads, key=itemgetter(0))]

    def first(self, count: int) -> list[Job]:
        """The most urgent."""
        heads = [islice(alike, count) for alike in self._alike.values()]
        return [job for _, job in islice(merge(*heads, key=itemgetter(0)), count)]

    def gpus(self, of: Tier) -> int:
        return sum(gpus * nodes * len(alike) for (gpus, nodes, tier, *_), alike in self._alike.items() if tier is of)

    def __iter__(self) -> Iterator[Job]:
        return (job for alike in self._alike.values() for _, job in alike)


def _alike(job: Job, *, pressing: bool) -> _Alike:
    wanted = job.spec.requirements
    return wanted.gpus, wanted.nodes, job.spec.tier, job.organisation_id, pressing
