# ruff: noqa: ARG001 - `docker_engine` is often there for what it does

import gc
from contextlib import suppress
from threading import Event, Thread

import docker
import pytest
from made_up import MIB, a_shell_task, a_task, eventually
from registry import Registry

from node_agent.docker_runtime import DockerRuntime
from node_agent.errors import ContainerGone, EngineUnavailable, StartFailed
from node_agent.runtime import ContainerState
from scalar.protocol import Gpu, LogStream, TaskEnding

pytestmark = pytest.mark.docker

GO_ON = Event()


@pytest.fixture
def runtime(docker_engine, node_id):
    with_gpu = DockerRuntime(node_id=node_id, gpus=[Gpu(index=0, type="declared")], pull_pause_seconds=0.01)
    yield with_gpu
    with_gpu.close()


@pytest.fixture
def registry(docker_engine):
    registry = Registry(docker_engine, "busybox:local")
    yield registry
    registry.close()


def run(runtime, task):
    """Creates and starts it."""
    runtime.create(task)
    runtime.start(task)
    return only(runtime)


def only(runtime):
    (container,) = runtime.containers()
    return container


def run_to_its_end(runtime, task):
    container = run(runtime, task)
    assert runtime.ended(container.id, 20)
    return only(runtime)


def output(runtime, container_id, stream=LogStream.STDOUT, *, follow=True):
    pieces = list(runtime.output(container_id, follow=follow))
    return b"".join(data for of, data in pieces if of is stream)


def test_a_container_goes_from_created_to_running_to_exited_with_the_engines_times(runtime, run_id):
    task = a_shell_task("trap 'exit 5' TERM; echo up; while true; do sleep 0.05; done", run_id=run_id, rank=3)
    runtime.create(task)
    created = only(runtime)
    assert (created.state, created.started_at, created.key) == (ContainerState.CREATED, None, (run_id, 3))
    runtime.start(task)
    running = only(runtime)
    assert running.state is ContainerState.RUNNING
    next(iter(runtime.output(running.id, follow=True)))
    runtime.stop(running.id, 10)
    exited = only(runtime)
    assert (exited.state, exited.exit_code, exited.started_at) == (ContainerState.EXITED, 5, running.started_at)
    assert exited.finished_at > exited.started_at
    runtime.remove(exited.id)
    assert runtime.containers() == []
    runtime.remove(exited.id)


def test_creating_and_starting_again_gives_the_same_one_container(runtime, run_id):
    task = a_shell_task("sleep 60", run_id=run_id)
    first = run(runtime, task)
    assert run(runtime, task) == first


def test_another_nodes_container_is_neither_seen_nor_taken_over(runtime, docker_engine, api, run_id):
    other_node = f"other-{run_id}"
    api.all_nodes.append(other_node)
    other = DockerRuntime(node_id=other_node, gpus=[])
    task = a_shell_task("sleep 60", run_id=run_id)
    run(other, task)
    other.close()
    assert runtime.containers() == []
    with pytest.raises(StartFailed, match="already in use"):
        runtime.create(task)


def test_limits_are_really_applied(runtime, docker_engine, run_id):
    container = run(runtime, a_shell_task("sleep 60", run_id=run_id, memory_bytes=48 * MIB, max_processes=77))
    host = docker_engine.inspect_container(container.id)["HostConfig"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-file": "16", "max-size": "64m"}}
    where = "/sys/fs/cgroup"
    look = (
        f"cat {where}/memory/memory.limit_in_bytes {where}/memory/memory.memsw.limit_in_bytes {where}/pids/pids.max"
        f" {where}/cpu/cpu.cfs_quota_us {where}/cpu/cpu.cfs_period_us 2>/dev/null ||"
        f" cat {where}/memory.max {where}/memory.swap.max {where}/pids.max {where}/cpu.max"
    )
    exec_id = docker_engine.exec_create(container.id, ["sh", "-c", look])["Id"]
    limits = docker_engine.exec_start(exec_id).split()
    memory, swap = str(48 * MIB).encode(), (b"0", str(48 * MIB).encode())
    assert limits[0] == memory
    assert limits[1] in swap
    assert limits[2:] == [b"77", b"50000", b"100000"]


def test_more_memory_than_asked_for_ends_a_container(runtime, run_id):
    container = run_to_its_end(
        runtime, a_shell_task("x=a; while true; do x=$x$x; done", run_id=run_id, memory_bytes=16 * MIB)
    )
    assert (container.exit_code, container.out_of_memory) == (137, True)


def test_more_cpus_than_the_machine_has_are_all_of_them(runtime, run_id):
    assert run_to_its_end(runtime, a_shell_task("exit 0", run_id=run_id, cpus=4096)).exit_code == 0


def test_command_replaces_the_entrypoint_and_args_the_command(runtime, run_id):
    assert run_to_its_end(runtime, a_task(run_id=run_id, command=None, args=["sh", "-c", "exit 7"])).exit_code == 7
    with_both = a_task(run_id=run_id, rank=1, command=["sh", "-c"], args=["exit 8"])
    runtime.create(with_both)
    runtime.start(with_both)
    codes = eventually(lambda: [each.exit_code for each in runtime.containers() if each.key[1] == 1 and each.exit_code])
    assert codes == [8]


def test_the_environment_is_the_customers_and_who_it_is(runtime, run_id):
    task = a_task(run_id=run_id, rank=1, command=["env"], env={"TOKEN": "customer-secret"}, gpus=[0])
    told = output(runtime, run(runtime, task).id).decode().splitlines()
    expected = {
        "TOKEN=customer-secret",
        "SCALAR_JOB_ID=job-1",
        f"SCALAR_RUN_ID={run_id}",
        "SCALAR_NODE_RANK=1",
        "SCALAR_GPU_INDICES=0",
        "NVIDIA_VISIBLE_DEVICES=void",
    }
    assert expected <= set(told)
    assert not any("SCALAR_AGENT" in line or "fencing-secret" in line for line in told)


def test_both_streams_are_told_apart_and_the_same_each_time(runtime, run_id):
    script = "for i in $(seq 500); do echo out $i; echo err $i >&2; done; printf last"
    container = run_to_its_end(runtime, a_shell_task(script, run_id=run_id))
    for follow in (True, False):
        out, err = (output(runtime, container.id, stream, follow=follow) for stream in LogStream)
        assert out == b"".join(b"out %d\n" % i for i in range(1, 501)) + b"last"
        assert err == b"".join(b"err %d\n" % i for i in range(1, 501))


def test_a_followed_log_can_be_closed_from_elsewhere(runtime, run_id):
    container = run(runtime, a_shell_task("echo up; sleep 60", run_id=run_id))
    following = runtime.output(container.id, follow=True)
    pieces = iter(following)
    assert next(pieces) == (LogStream.STDOUT, b"up\n")
    following.close()
    with suppress(EngineUnavailable):
        assert list(pieces) == []


def test_a_signal_counts_as_128_and_more(runtime, run_id):
    container = run(runtime, a_shell_task("exec sleep 60", run_id=run_id))
    runtime.stop(container.id, 10)
    assert only(runtime).exit_code == 143


def test_who_ignores_sigterm_is_killed_after_the_grace(runtime, run_id):
    container = run(runtime, a_shell_task("trap '' TERM; echo up; while true; do sleep 0.05; done", run_id=run_id))
    next(iter(runtime.output(container.id, follow=True)))
    runtime.stop(container.id, 1)
    ended = only(runtime)
    assert ended.exit_code == 137
    assert 0.9 < (ended.finished_at - ended.started_at).total_seconds() < 8
    assert not ended.out_of_memory


@pytest.mark.parametrize("with_init", [True, False])
def test_a_command_that_the_image_lacks_is_told_as_that(runtime, run_id, with_init):
    runtime._with_init = with_init
    task = a_task(run_id=run_id, command=["nosuchcommand"])
    if with_init:
        message = run_to_its_end(runtime, task).command_missing
    else:
        runtime.create(task)
        with pytest.raises(StartFailed) as failure:
            runtime.start(task)
        assert failure.value.ending is TaskEnding.COMMAND_NOT_FOUND
        assert only(runtime).state is ContainerState.CREATED
        message = failure.value.message
    assert "nosuchcommand" in message


def test_a_shell_that_finds_no_command_just_exits_127(runtime, run_id):
    container = run_to_its_end(runtime, a_shell_task("nosuchcommand", run_id=run_id))
    assert (container.exit_code, container.command_missing) == (127, None)


def test_an_image_that_is_not_here_is_pulled(runtime, registry, docker_engine):
    image = f"{registry.address}/served:1"
    runtime.fetch_image(image, GO_ON)
    assert docker_engine.inspect_image(image)["Id"] == docker_engine.inspect_image("busybox:local")["Id"]
    asked = len(registry.requests)
    runtime.fetch_image(image, GO_ON)
    assert len(registry.requests) == asked, "a local image isn't asked for"
    docker_engine.remove_image(image)


def test_an_image_that_the_registry_lacks_is_not_found_at_once(runtime, registry):
    with pytest.raises(StartFailed, match="manifest unknown") as failure:
        runtime.fetch_image(f"{registry.address}/missing:1", GO_ON)
    assert failure.value.ending is TaskEnding.IMAGE_NOT_FOUND


def test_a_name_that_can_be_no_image_is_not_found(runtime):
    with pytest.raises(StartFailed) as failure:
        runtime.fetch_image("Not/An@Image", GO_ON)
    assert failure.value.ending is TaskEnding.IMAGE_NOT_FOUND


def test_a_registry_in_trouble_is_asked_three_times(runtime, registry):
    with pytest.raises(StartFailed) as failure:
        runtime.fetch_image(f"{registry.address}/broken:1", GO_ON)
    assert failure.value.ending is TaskEnding.IMAGE_UNAVAILABLE
    assert len([path for path in registry.requests if "manifests/1" in path]) >= 3


def test_a_cancelled_pull_is_given_up(runtime, registry):
    cancelled = Event()
    cancelled.set()
    runtime.fetch_image(f"{registry.address}/broken:1", cancelled)


@pytest.mark.parametrize("image", ["silent", "stalled"])
def test_a_pull_that_stands_still_can_be_cancelled_at_once(runtime, registry, image):
    cancelled, returned = Event(), Event()

    def pull():
        runtime.fetch_image(f"{registry.address}/{image}:1", cancelled)
        returned.set()

    Thread(target=pull, daemon=True).start()
    eventually(lambda: any(f"/{image}/" in path for path in registry.requests))
    assert not returned.wait(0.3)
    cancelled.set()
    assert returned.wait(1)


@pytest.mark.parametrize("image", ["silent", "stalled"])
def test_a_pull_that_stands_still_is_given_up_and_tried_again(runtime, registry, image):
    runtime._pull_silence_seconds = 0.5
    with pytest.raises(StartFailed, match="No progress") as failure:
        runtime.fetch_image(f"{registry.address}/{image}:1", GO_ON)
    assert failure.value.ending is TaskEnding.IMAGE_UNAVAILABLE


def test_a_container_that_is_gone_is_no_engine_trouble(runtime, run_id):
    container = run_to_its_end(runtime, a_shell_task("exit 0", run_id=run_id))
    runtime.remove(container.id)
    with pytest.raises(ContainerGone):
        runtime.output(container.id, follow=True)
    with pytest.raises(ContainerGone):
        runtime.ended(container.id, 1)
    runtime.stop(container.id, 1)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_engine_that_does_not_answer_is_never_an_empty_list(monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    with pytest.raises(EngineUnavailable):
        DockerRuntime(node_id="n", gpus=[])
    # docker-py leaves the socket open that it could not connect; here is where that is forgiven.
    gc.collect()


def test_real_gpus_are_asked_for_by_uuid(docker_engine, node_id):
    """As far as it goes on a machine without one: what the engine is asked for."""
    with_gpus = DockerRuntime(
        node_id=node_id, gpus=[Gpu(index=0, type="H100", uuid="GPU-a"), Gpu(index=1, type="H100", uuid="GPU-b")]
    )
    task = a_task(gpus=[1])
    assert with_gpus._devices(task) == [docker.types.DeviceRequest(device_ids=["GPU-b"], capabilities=[["gpu"]])]
    assert with_gpus._environment(task)["NVIDIA_VISIBLE_DEVICES"] == "GPU-b"
    with_gpus.close()
