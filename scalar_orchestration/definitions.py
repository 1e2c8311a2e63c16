"""What Dagster loads: everything in `defs/`, and the one resource."""

from pathlib import Path

import dagster as dg

from scalar_orchestration.resources import PostgresResource


@dg.definitions
def definitions() -> dg.Definitions:
    return dg.Definitions.merge(
        dg.load_from_defs_folder(path_within_project=Path(__file__).parent),
        dg.Definitions(resources={"database": PostgresResource(url=dg.EnvVar("SCALAR_DATABASE_URL"))}),
    )
