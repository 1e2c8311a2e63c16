"""What a machine is started with, so that it becomes a node: cloud-init's `#cloud-config`.

Written as JSON, which is YAML too: nothing in it can be quoted wrongly. It holds a join token, good for one machine and
a short time; it is never logged.
"""

import json
from collections.abc import Mapping

from pydantic import SecretStr

ENVIRONMENT_FILE = "/etc/scalar/agent.env"
_UNIT = """[Unit]
Description=Scalar node agent
After=network-online.target docker.service
Wants=network-online.target

[Service]
EnvironmentFile=/etc/scalar/agent.env
ExecStart=/opt/scalar/bin/python -m node_agent
Restart=always
RestartSec=2
KillMode=process

[Install]
WantedBy=multi-user.target
"""


def cloud_config(*, name: str, api_url: str, join_token: SecretStr, package: str, runtime: str) -> str:
    """`package`: what pip installs. The image brings Python, Docker and NVIDIA's container runtime."""
    environment = {
        "SCALAR_AGENT_API_URL": api_url,
        "SCALAR_AGENT_NAME": name,
        "SCALAR_AGENT_JOIN_TOKEN": join_token.get_secret_value(),
        "SCALAR_AGENT_STATE_DIR": "/var/lib/scalar-agent",
        "SCALAR_AGENT_RUNTIME": runtime,
    }
    config = {
        "write_files": [
            _file(ENVIRONMENT_FILE, _lines(environment), "0600"),
            _file("/etc/systemd/system/scalar-agent.service", _UNIT, "0644"),
        ],
        "runcmd": [
            ["python3", "-m", "venv", "/opt/scalar"],
            ["/opt/scalar/bin/pip", "install", "--quiet", package],
            ["systemctl", "daemon-reload"],
            ["systemctl", "enable", "--now", "scalar-agent.service"],
        ],
    }
    return "#cloud-config\n" + json.dumps(config, indent=1)


def _file(path: str, content: str, permissions: str) -> dict[str, str]:
    return {"path": path, "content": content, "permissions": permissions}


def _lines(environment: Mapping[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in environment.items())
