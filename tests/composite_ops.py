"""What torch.export does anew for each program, done once."""

from __future__ import annotations

from typing import Any

import torch


def collect_once(patch: Any) -> None:
    """torch.export (2.13) collects the composite ops of all namespaces anew in each decomposition,
    and evaluates type annotations as it overrides each of them: half of the time that a small
    program takes to lower. Then it collects where something was registered since the last time,
    and finds the same ops.

    Args:
        patch: ``setattr``, or that of a ``MonkeyPatch``.
    """
    registrations = torch._C._dispatch_get_registrations_for_dispatch_key
    collect, known = torch._export.utils._collect_all_valid_cia_ops, []

    def collect_new() -> set[Any]:
        at = (registrations("CompositeImplicitAutograd"), list(torch.ops._dir))
        if not known or known[0] != at:
            known[:] = [at, collect()]
        return set(known[1])

    for module in (torch._export.utils, torch.export.exported_program):
        patch(module, "_collect_all_valid_cia_ops", collect_new)
    patch(torch._ops, "Callable", list)  # of which ``list[...]`` costs nothing
