"""Which OpenVINO device runs a model.

Rounding to fp16 is proven bit for bit on the CPU only (:mod:`executorch_coreml.engine.precision`),
so another device is taken where somebody names it, and never because it is there: compute unit
``all`` is the CPU.
"""

from __future__ import annotations

import logging
from functools import lru_cache

from executorch_coreml.engine.precision import core
from executorch_coreml.engine.settings import Settings
from executorch_coreml.errors import InputError

_log = logging.getLogger(__name__)

_CPU, _AUTO = "CPU", "AUTO"

# Core ML compute unit (compile spec or Swift spelling) -> the OpenVINO device that comes near it.
_DEVICES = {"cpu_only": _CPU, "all": _CPU, "cpu_and_gpu": "GPU", "cpu_and_ne": "NPU"}


def device(compute_unit: str | None = None, wanted: str | None = None) -> str:
    """The device to compile a model for. Where what is asked for is not there, it is the CPU, and
    one line of the log, once in a process, says so.

    Args:
        compute_unit: ``cpu_only`` (the same as None), ``cpu_and_gpu``, ``cpu_and_ne`` or ``all``.
        wanted: A device by OpenVINO's name, as in :class:`~.settings.Settings`; outdoes
            ``compute_unit``.

    Raises:
        InputError: ``compute_unit`` is none of these.
        OptionsError: ``wanted`` is no device.
    """
    unit = (compute_unit or "cpu_only").lower()
    if unit not in _DEVICES:
        raise InputError(f"compute unit {compute_unit!r} is none of {list(_DEVICES)}")
    if wanted is not None:
        return _present(Settings(device=wanted).device or _CPU, f"device {wanted}")
    return _present(_DEVICES[unit], f"compute unit {unit}")


@lru_cache
def _present(name: str, asked: str) -> str:
    if name in (_CPU, _AUTO):
        return name
    found = core().available_devices
    if any(each == name or each.startswith(f"{name}.") for each in found):
        return name
    _log.warning(
        "%s: OpenVINO finds no %s here, only %s; the CPU runs the model",
        asked,
        name,
        ", ".join(found),
    )
    return _CPU
