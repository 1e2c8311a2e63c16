"""Dagster's sensors and schedules on a played clock: evaluated here, and what they ask for is run here, in turn.

What Dagster's daemon does by the wall's clock, in one process: a sensor keeps its cursor, a run key is asked for once,
and each run has the tags by which Dagster's pages say who wanted it.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import dagster as dg

from scalar_orchestration.clock import utc_now
from scalar_orchestration.resources import MarketResource, PostgresResource

_MINUTES = "%Y-%m-%d-%H:%M"
_RANGE = "dagster/asset_partition_range_start"
_QUIET = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}
"""On this process's own output: Dagster's pages have all of it."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A run that somebody wants: of which assets, for which partition."""

    by: str
    selection: frozenset[dg.AssetKey]
    partition_key: str | None = None
    tags: dict[str, str] = field(default_factory=dict, hash=False)


@dataclass(kw_only=True)
class Tally:
    """How many runs there were, and which failed: what they were of, and when in played time."""

    runs: int = 0
    failed: list[str] = field(default_factory=list)


class Timetable:
    """`start`, `end`: the time that schedules are known for."""

    def __init__(
        self,
        definitions: dg.Definitions,
        instance: dg.DagsterInstance,
        *,
        database: PostgresResource,
        market: MarketResource,
        start: datetime,
        end: datetime,
    ) -> None:
        self._definitions, self._instance = definitions, instance
        self._repository = definitions.get_repository_def()
        self._resources = {"database": database, "market": market}
        self._start, self._end = start, end
        self._cursors: dict[str, str | None] = {}
        self._keys: set[tuple[str, str]] = set()
        self._times: dict[str, list[datetime]] = {}
        self._evaluated: dict[str, datetime] = {}
        self.tally = Tally()

    def sensor(self, name: str) -> list[Asked]:
        """One tick of it. What it does by itself is done; what it asks for comes back."""
        sensor = self._repository.get_sensor_def(name)
        with dg.build_sensor_context(
            instance=self._instance,
            cursor=self._cursors.get(name),
            repository_def=self._repository,
            resources=self._resources,
            sensor_name=name,
        ) as context:
            tick = sensor.evaluate_tick(context)
        if tick.cursor is not None:
            self._cursors[name] = tick.cursor
        return self._asked(name, "dagster/sensor_name", tick.run_requests or [])

    def schedule(self, name: str) -> list[Asked]:
        """What it asks for, if its time came since it was last looked at; times that were missed count as one."""
        now = utc_now()
        since, self._evaluated[name] = self._evaluated.get(name, self._start - timedelta(seconds=1)), now
        due = [each for each in self._times_of(name) if since < each <= now]
        if not due:
            return []
        schedule = self._repository.get_schedule_def(name)
        with dg.build_schedule_context(
            instance=self._instance,
            scheduled_execution_time=due[-1],
            repository_def=self._repository,
            resources=self._resources,
        ) as context:
            tick = schedule.evaluate_tick(context)
        return self._asked(name, "dagster/schedule_name", tick.run_requests or [])

    def run(self, asked: Iterable[Asked]) -> None:
        """All of it: what is asked for of one partition, and wants nothing else, is one run."""
        together: dict[tuple[str | None, str | None], list[Asked]] = defaultdict(list)
        for each in asked:
            together[each.partition_key, each.tags.get(_RANGE)].append(each)
        for (partition_key, _), group in together.items():
            self._run(group, partition_key)

    def materialise(self, *names: str, partition_key: str | None = None, tags: dict[str, str] | None = None) -> None:
        """These assets and their checks, because the demo wants them."""
        keys = frozenset(dg.AssetKey(name) for name in names)
        self._run([Asked(by="demo", selection=keys, tags=tags or {})], partition_key)

    def _run(self, group: Sequence[Asked], partition_key: str | None) -> None:
        selection = sorted({key for each in group for key in each.selection})
        done = self._repository.get_implicit_global_asset_job_def().execute_in_process(
            run_config=_QUIET,
            instance=self._instance,
            asset_selection=selection,
            partition_key=partition_key,
            tags={**group[0].tags, "scalar/played": utc_now().strftime("%Y-%m-%d %H:%M")},
            raise_on_error=False,
        )
        self.tally.runs += 1
        if not done.success:
            names = ", ".join(key.to_user_string() for key in selection)
            self.tally.failed.append(f"{names} {partition_key or ''} at {utc_now():%a %H:%M}: run {done.run_id}")

    def _asked(self, name: str, tag: str, requests: Sequence[dg.RunRequest]) -> list[Asked]:
        found = []
        for request in requests:
            if request.run_key is not None:
                if (name, request.run_key) in self._keys:
                    continue
                self._keys.add((name, request.run_key))
            found.append(
                Asked(
                    by=name,
                    selection=frozenset(request.asset_selection or self._target(name)),
                    partition_key=request.partition_key,
                    tags={**request.tags, tag: name},
                )
            )
        return found

    def _target(self, name: str) -> frozenset[dg.AssetKey]:
        """All that the job behind a sensor or a schedule makes."""
        job = self._repository.get_job(f"__anonymous_asset_job_{name}")
        return frozenset(job.asset_layer.selected_asset_keys)

    def _times_of(self, name: str) -> list[datetime]:
        """When it is due: Dagster's own reading of its cron."""
        if name not in self._times:
            cron = self._repository.get_schedule_def(name).cron_schedule
            due = dg.TimeWindowPartitionsDefinition(
                start=self._start - timedelta(days=1), end=self._end, cron_schedule=str(cron), fmt=_MINUTES
            )
            keys = due.get_partition_keys()
            self._times[name] = [datetime.strptime(key, _MINUTES).replace(tzinfo=UTC) for key in keys]
        return self._times[name]
