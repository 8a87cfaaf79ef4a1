"""Imported by vLLM's worker before it builds its model (`--worker-extension-cls empg_vllm_worker.Unpacked`).

On the CPU, vLLM packs the weights of linear layers for oneDNN when it starts and reads only the packed ones afterwards; reloading then
silently leaves a tied output layer behind. Packing is therefore off; on a GPU this changes nothing.
"""

from vllm import _custom_ops
from vllm.model_executor.layers import utils
from vllm.platforms import current_platform

if current_platform.is_cpu():
    _custom_ops._supports_onednn = False
    if hasattr(utils, "check_cpu_sgl_kernel"):
        utils.check_cpu_sgl_kernel = lambda *_: False


class Unpacked:
    """Adds nothing to the worker; importing this module is what counts."""
