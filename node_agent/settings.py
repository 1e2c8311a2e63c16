"""What an operator can set, by environment (`SCALAR_AGENT_...`) or flag; flags win."""

import socket
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

EXAMPLES = """
Runs the containers that the API assigns to this node, and reports what they do. It only calls out: no port is opened.

On a GPU node (GPUs are found by NVML, containers need Docker with NVIDIA's runtime):

    SCALAR_AGENT_API_URL=https://api.example.com SCALAR_AGENT_JOIN_TOKEN=... python -m node_agent --runtime docker

The join token is needed once. The node's own credential is then kept in the state directory, which also holds what
the API doesn't know yet: keep it between restarts. Stopping the agent leaves its containers running, and the next
start adopts them (see --on-exit).

On a laptop, with two GPUs that exist in name only:

    python -m node_agent --api-url http://127.0.0.1:8000 --join-token dev --gpus 2 --on-exit stop

Exit codes: 0 stopped by a signal, 2 wrong settings, refused credential or taken name, 3 the state directory is in use.
Every setting is also an environment variable: --on-exit is SCALAR_AGENT_ON_EXIT. Give secrets that way.
"""


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="SCALAR_AGENT_",
        env_ignore_empty=True,
        cli_prog_name="python -m node_agent",
        cli_kebab_case=True,
        cli_hide_none_type=True,
        frozen=True,
    )

    api_url: str = Field(pattern=r"^https?://", description="where the API is, as https://host[:port]")
    join_token: SecretStr | None = Field(None, description="lets this node join; better given by the environment")
    state_dir: Path = Field(Path("~/.scalar-agent"), description="credential, unsent reports; one agent each")
    name: str = Field(default_factory=socket.gethostname, description="what operators call this node")
    runtime: Literal["auto", "docker", "process"] = Field(
        "auto",
        description="what runs the tasks; process: development only, not isolated; auto: docker if an engine answers",
    )
    gpus: int | None = Field(None, ge=0, le=64, description="declare so many GPUs instead of asking NVML")
    gpu_type: str = Field("declared", description="the type of declared GPUs, as in H100")
    address: str | None = Field(None, description="where the other nodes of a gang reach this one")
    on_exit: Literal["leave", "stop"] = Field(
        "leave", description="leave: containers run on, the next start adopts them; stop: they end with the agent"
    )
    alive_interval_seconds: float = Field(60.0, gt=0, description="how often to say that a task still runs")
    cpus: float | None = Field(None, gt=0, description="CPUs to offer; default: all")
    memory_gib: float | None = Field(None, gt=0, description="memory to offer, in GiB; default: all")
