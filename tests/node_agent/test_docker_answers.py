from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.docker_answers import discarded_limit, frames, image_is_missing, missing_command, start_failure
from scalar.protocol import LogStream, TaskEnding

logs = st.lists(st.tuples(st.sampled_from(LogStream), st.binary(max_size=40)), max_size=10)


@given(logs, st.lists(st.integers(0, 600), max_size=8))
def test_a_log_is_the_same_however_the_engine_cuts_it_up(log, cuts):
    numbers = {LogStream.STDOUT: 1, LogStream.STDERR: 2}
    raw = b"".join(bytes([numbers[stream], 0, 0, 0]) + len(data).to_bytes(4) + data for stream, data in log)
    pieces = [raw[start:end] for start, end in pairwise(sorted({0, len(raw), *cuts}))]
    assert list(frames(pieces)) == log


@pytest.mark.parametrize(
    ("explanation", "ending"),
    [
        ('exec: "nosuch": executable file not found in $PATH: unknown', TaskEnding.COMMAND_NOT_FOUND),
        ('exec: "/etc": permission denied: unknown', TaskEnding.COMMAND_NOT_FOUND),
        ("OCI runtime create failed: no space left on device", TaskEnding.START_FAILED),
        ('Conflict. The container name "/scalar-run-0" is already in use', TaskEnding.START_FAILED),
    ],
)
def test_what_a_refused_start_means(explanation, ending):
    failure = start_failure(explanation)
    assert failure.ending is ending
    assert explanation in failure.message


@pytest.mark.parametrize(
    ("explanation", "missing"),
    [
        ("manifest for 127.0.0.1:5000/x:1 not found: manifest unknown: no such tag", True),
        ("pull access denied for x, repository does not exist or may require 'docker login'", True),
        ('Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io: no such host', False),
        ('Get "http://127.0.0.1:9/v2/": dial tcp 127.0.0.1:9: connect: connection refused', False),
        ("received unexpected HTTP status: 500 Internal Server Error", False),
        ("toomanyrequests: You have reached your pull rate limit", False),
    ],
)
def test_an_image_that_is_missing_is_told_from_a_registry_in_trouble(explanation, missing):
    assert image_is_missing(explanation) is missing


def test_only_inits_own_words_mean_that_the_command_is_missing():
    fatal = b"[FATAL tini (7)] exec nosuch failed: No such file or directory\n"
    assert "exec nosuch failed" in (missing_command(127, fatal) or "")
    assert missing_command(1, fatal) is None
    assert missing_command(127, b"sh: nosuch: not found\n") is None


def test_a_limit_that_the_engine_left_out_is_noticed():
    warning = "Your kernel does not support pids limit capabilities or the cgroup is not mounted. PIDs limit discarded."
    assert discarded_limit([warning]) == warning
    assert discarded_limit(["IPv4 forwarding is disabled. Networking will not work."]) is None
