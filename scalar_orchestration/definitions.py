"""What Dagster loads: everything in `defs/`, and the resources."""

from pathlib import Path

import dagster as dg

from scalar.market.settings import MarketSettings
from scalar_orchestration.resources import MarketResource, PostgresResource


@dg.definitions
def definitions() -> dg.Definitions:
    return dg.Definitions.merge(
        dg.load_from_defs_folder(path_within_project=Path(__file__).parent),
        # A step takes less time than the process that it would be given.
        dg.Definitions(
            executor=dg.in_process_executor,
            resources={
                "database": PostgresResource(url=dg.EnvVar("SCALAR_DATABASE_URL")),
                "market": MarketResource(url=MarketSettings().url),
            },
        ),
    )
