"""The GPUs of this machine: declared in the settings, or discovered by NVML (the only module that imports pynvml)."""

import pynvml

from scalar.protocol import Gpu


def declared(count: int, gpu_type: str) -> list[Gpu]:
    """GPUs that exist in name only: the scheduler counts them, tasks get their indices in the environment."""
    return [Gpu(index=index, type=gpu_type) for index in range(count)]


def discovered() -> list[Gpu]:
    """What NVML shows, by its index; none where there is no NVIDIA driver."""
    try:
        pynvml.nvmlInit()
    except (pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded):
        return []
    try:
        return [_gpu(index) for index in range(pynvml.nvmlDeviceGetCount())]
    finally:
        pynvml.nvmlShutdown()


def _gpu(index: int) -> Gpu:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    return Gpu(
        index=index,
        type=pynvml.nvmlDeviceGetName(handle),
        uuid=pynvml.nvmlDeviceGetUUID(handle),
        memory_bytes=pynvml.nvmlDeviceGetMemoryInfo(handle).total,
    )
