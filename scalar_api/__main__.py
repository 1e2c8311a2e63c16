"""`python -m scalar_api`: the API on one address; settings from the environment."""

import argparse

import uvicorn

from scalar.logging import configure


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m scalar_api", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on (default: %(default)s)")
    arguments = parser.parse_args()
    configure()
    uvicorn.run(
        "scalar_api.app:create_app",
        factory=True,
        host=arguments.host,
        port=arguments.port,
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=3,
    )


if __name__ == "__main__":
    main()
