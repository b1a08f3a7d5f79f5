"""Several methods, one set of weights.

Delegates of different methods become functions of one model, which the program stores once in its
named data; each delegate's bytes refer to it (``CMJR``, see :mod:`.payload`). The device finds a
delegate's argument names by its ExecuTorch method, so a model takes at most one delegate of each
method. Which ones go together is the weight sharing strategy's choice:

- ``POSITIONAL``: delegate n of every method;
- ``BY_CONTENT``: those that hold the same weights, the most first. A delegate that shares nothing
  gets a model of its own.

All functions are built into one MIL program before anything is serialised, and their weights go
through one :class:`~.pool.Pool`: memory grows with the methods' graphs, not with their weights.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import torch
from executorch.exir._serialize._named_data_store import NamedDataStore
from executorch.exir.backend.backend_details import ExportedProgram, PreprocessResult
from torch.export.graph_signature import OutputKind

from executorch_coreml.compiler import package, payload
from executorch_coreml.compiler.graph import delegated_graph
from executorch_coreml.compiler.lower import lower
from executorch_coreml.compiler.pool import Pool
from executorch_coreml.compiler.target import Need, needs
from executorch_coreml.errors import OptionsError
from executorch_coreml.options import CompileOptions, Target, WeightSharing

Programs: TypeAlias = "Mapping[str, Sequence[ExportedProgram]]"
Options: TypeAlias = "Mapping[str, Sequence[CompileOptions]]"
Group: TypeAlias = "dict[str, int]"  # method -> which of its delegates

OLDEST = Target.iOS18  # the first OS with models of several functions
# Bytes that must be shared before sharing may raise a target that nobody asked for.
WORTH_A_TARGET = 1 << 16


def grouped(programs: Programs, options: Options) -> list[Group]:
    """Which delegates become one model each; every delegate is in one group.

    Raises:
        OptionsError: The strategy contradicts the target or the numbers of delegates.
    """
    strategies = {each.weight_sharing for lists in options.values() for each in lists}
    if len(strategies) > 1:
        raise OptionsError(
            "the methods differ in multimethod_weight_sharing_strategy: "
            + ", ".join(sorted(s.name for s in strategies))
        )
    strategy = next(iter(strategies), WeightSharing.DISABLED)
    if strategy is WeightSharing.DISABLED or len(programs) < 2:
        return [{m: n} for m, lists in programs.items() for n in range(len(lists))]
    if strategy is WeightSharing.POSITIONAL:
        return _by_position(programs, options)
    return _by_content(programs, options)


def _by_position(programs: Programs, options: Options) -> list[Group]:
    counts = {method: len(each) for method, each in programs.items()}
    if len(set(counts.values())) > 1:
        raise OptionsError(
            f"POSITIONAL weight sharing needs as many delegates in each method; got {counts}",
            hint="use BY_CONTENT, which does not, or DISABLED",
        )
    targets = {each.minimum_deployment_target for lists in options.values() for each in lists}
    if old := [t.name for t in targets if t is not None and t < OLDEST]:
        raise OptionsError(
            f"POSITIONAL weight sharing needs {OLDEST.name}; minimum_deployment_target is {old[0]}",
            hint=f"set minimum_deployment_target to {OLDEST.name}, or use BY_CONTENT or DISABLED",
        )
    return [dict.fromkeys(programs, n) for n in range(next(iter(counts.values())))]


def _by_content(programs: Programs, options: Options) -> list[Group]:
    """Each delegate joins the group it shares most bytes with, the best matches first."""
    pool = Pool()
    weights = {
        (method, n): _weights(program, pool)
        for method, each in programs.items()
        for n, program in enumerate(each)
    }
    groups: list[Group] = []
    for method, each in programs.items():
        scored = [
            (-shared, n, number)
            for n in range(len(each))
            for number, group in enumerate(groups)
            if (shared := _shared(weights, (method, n), group, options)) > 0
        ]
        placed: set[int] = set()
        for _, n, number in sorted(scored):
            if n not in placed and method not in groups[number]:
                groups[number][method] = n
                placed.add(n)
        groups += [{method: n} for n in range(len(each)) if n not in placed]
    return groups


def _shared(
    weights: Mapping[tuple[str, int], Mapping[str, int]],
    delegate: tuple[str, int],
    group: Group,
    options: Options,
) -> int:
    """Bytes of weights that a delegate has in common with a group, 0 if it may not join it."""
    mine = weights[delegate]
    theirs: dict[str, int] = {}
    for member in group.items():
        theirs |= weights[member]
    shared = sum(size for name, size in mine.items() if name in theirs)
    members = [options[method][n] for method, n in [*group.items(), delegate]]
    targets = [each.minimum_deployment_target for each in members]
    if any(t is not None and t < OLDEST for t in targets):
        return 0
    if any(_for_all(each) != _for_all(members[0]) for each in members):
        return 0
    return shared if all(targets) or shared >= WORTH_A_TARGET else 0


def _for_all(options: CompileOptions) -> tuple[Any, ...]:
    """What all functions of one model have in common."""
    return (
        options.model_type,
        options.pass_names,
        options.op_linear_quantizer_config,
        options.op_pruner_config,
    )


def _weights(program: ExportedProgram, pool: Pool) -> dict[str, int]:
    """Name by content -> bytes, of all weights of a program."""
    mutated = {
        spec.target
        for spec in program.graph_signature.output_specs
        if spec.kind is OutputKind.BUFFER_MUTATION
    }
    held = {**program.state_dict, **program.constants}
    tensors = [t for n, t in held.items() if isinstance(t, torch.Tensor) and n not in mutated]
    found = {}
    for tensor in tensors:
        data = tensor.detach().cpu()
        if data.dtype is torch.bfloat16:
            data = data.view(torch.int16)
        if data.numel() and data.layout is torch.strided:
            array = pool.keep(data.contiguous().numpy())
            found[pool.name(array)] = array.nbytes
    return found


def shared_model(programs: Programs, options: Options, group: Group) -> dict[str, PreprocessResult]:
    """One model of several functions; each method's result refers to it.

    Raises:
        CompileError: A delegate cannot be lowered.
    """
    chosen = {method: options[method][n] for method, n in group.items()}
    targets = [OLDEST, *(each.minimum_deployment_target or OLDEST for each in chosen.values())]
    reasons = [Need(OLDEST, f"{len(group)} methods share one model: {', '.join(group)}")]
    for method, n in group.items():
        if chosen[method].minimum_deployment_target is None:
            found = needs(delegated_graph(programs[method][n]), chosen[method])
            targets += [need.target for need in found]
            reasons += found
    target, pool = max(targets), Pool()
    functions = {
        method: lower(
            programs[method][n],
            replace(chosen[method], minimum_deployment_target=target),
            pool,
        )
        for method, n in group.items()
    }
    _warn_of_states(functions)
    first = next(iter(chosen.values()))
    built = package.build_functions(functions, pool, target, first, reasons)
    key = f"coreml_{built.identifier}"
    store = NamedDataStore()
    store.add_named_data(key, built.payload())
    stored = store.get_named_data_store_output()
    return {
        method: PreprocessResult(
            processed_bytes=payload.pack_reference(key, method), data_store_output=stored
        )
        for method in group
    }


def _warn_of_states(functions: Mapping[str, Any]) -> None:
    """ExecuTorch makes a state per loaded method, so a cache that one method fills stays empty in
    the others."""
    times = Counter(name for lowered in functions.values() for name in lowered.states)
    for name in sorted(name for name, count in times.items() if count > 1):
        warnings.warn(
            f"buffer {name} is a state of several methods, and each loaded method has its own: "
            "pass it as an argument and return it to share it",
            stacklevel=2,
        )
