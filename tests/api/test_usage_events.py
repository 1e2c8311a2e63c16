"""Usage events in batches: who may say what of which task, and what becomes of each event."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from scalar.accounts.keys import Role
from scalar.billing.rated_usage import month_of
from scalar.jobs.model import JobRun
from scalar.metering import store
from scalar.metering.usage import gpu_seconds, usage_in
from scalar.metering.model import Window, hour_of
from tests.api.calls import NodeAgent, assert_problem
from tests.api.conftest import Api
