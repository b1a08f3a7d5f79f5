"""``CoreMLQuantizer``: says for each node of an exported model how PT2E is to quantize it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, TypeGuard

import torch
from torch.fx import GraphModule, Node
from torchao.quantization.pt2e.fake_quantize import FakeQuantize
from torchao.quantization.pt2e.observer import (
    MinMaxObserver,
    MovingAverageMinMaxObserver,
    MovingAveragePerChannelMinMaxObserver,
    PerChannelMinMaxObserver,
)
from torchao.quantization.pt2e.quantizer import (
    QuantizationAnnotation,
    QuantizationSpec,
    Quantizer,
    SharedQuantizationSpec,
)
from torchao.quantization.pt2e.quantizer.quantizer import Q_ANNOTATION_KEY

from executorch_coreml.errors import OptionsError
from executorch_coreml.quantizer.config import (
    Integers,
    LinearQuantizerConfig,
    ModuleLinearQuantizerConfig,
    ObserverType,
    quantizer_config,
)
from executorch_coreml.quantizer.patterns import (
    ACTIVATIONS,
    BATCH_NORMS,
    CLAMPS,
    NEVER_NEGATIVE,
    PATTERNS,
    Pattern,
)

_OBSERVERS: dict[tuple[ObserverType, bool], Any] = {
    (ObserverType.min_max, False): MinMaxObserver,
    (ObserverType.min_max, True): PerChannelMinMaxObserver,
    (ObserverType.moving_average_min_max, False): MovingAverageMinMaxObserver,
    (ObserverType.moving_average_min_max, True): MovingAveragePerChannelMinMaxObserver,
}
_SCHEMES = {
    (True, False): torch.per_tensor_symmetric,
    (False, False): torch.per_tensor_affine,
    (True, True): torch.per_channel_symmetric,
    (False, True): torch.per_channel_affine,
}


class CoreMLQuantizer(Quantizer):  # type: ignore[misc]
    """For ``prepare_pt2e`` and ``prepare_qat_pt2e`` of ``torchao.quantization.pt2e``.

    Args:
        config: A :class:`LinearQuantizerConfig`, coremltools' class of that name, a mapping in
            the same spelling, the path of a YAML file that holds one, YAML text, or None to
            quantize everything with the defaults.

    Raises:
        OptionsError: The config holds something that cannot be honoured.
    """

    def __init__(self, config: Any = None):
        self.config: LinearQuantizerConfig = quantizer_config(config)

    def annotate(self, model: GraphModule) -> GraphModule:
        """Annotates every node that the config wants quantized.

        Raises:
            OptionsError: A module name that the model lacks, or with nothing to quantize.
        """
        quantized: set[str] = set()
        for node in model.graph.nodes:
            pattern = PATTERNS.get(node.target) if node.op == "call_function" else None
            if pattern is None or _annotation(node) is not None or not pattern.only(node):
                continue
            key, config = self._config_of(node)
            if config is not None and config.weight is not None:
                quantized.add(key)
                _annotate(node, pattern, config)
            elif config is not None:
                quantized.add(key)  # float32: honoured by leaving the node alone
        self._check_names(model, quantized)
        return model

    def validate(self, model: GraphModule) -> None:
        """Nothing is left to check once :meth:`annotate` has passed."""

    def _config_of(self, node: Node) -> tuple[str, ModuleLinearQuantizerConfig | None]:
        """(which entry, config) for a node: by the longest module name, by type, or the rest."""
        paths = _modules(node)
        named = [
            name
            for name in self.config.module_name_configs
            if any(path == name or path.startswith(f"{name}.") for path in paths)
        ]
        if named:
            name = max(named, key=len)
            return name, self.config.module_name_configs[name]
        for kind in _types(node):
            if kind in self.config.module_type_configs:
                return kind, self.config.module_type_configs[kind]
        return "", self.config.global_config

    def _check_names(self, model: GraphModule, quantized: set[str]) -> None:
        existing = {path for node in model.graph.nodes for path in _modules(node)}
        for name, config in self.config.module_name_configs.items():
            where = f"module_name_configs[{name!r}]"
            if not any(path == name or path.startswith(f"{name}.") for path in existing):
                hint = f"modules: {', '.join(sorted(existing - {''}))}"
                raise OptionsError("the model has no such module", location=where, hint=hint)
            if config is not None and name not in quantized:
                raise OptionsError(
                    "the module holds no op that can be quantized",
                    location=where,
                    hint="leave the entry out, or set it to None",
                )


def _modules(node: Node) -> list[str]:
    """The dotted paths of the modules a node is in, the root's being empty."""
    stack = node.meta.get("nn_module_stack") or {}
    return [path.removeprefix("L['self']").removeprefix(".") for path, _ in stack.values()]


def _types(node: Node) -> Iterator[str]:
    """What ``module_type_configs`` may call a node: modules from the innermost, then the op."""
    stack = node.meta.get("nn_module_stack") or {}
    for _, kind in reversed(stack.values()):
        yield kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
    target: Any = node.target
    yield target._schema.name.rpartition("::")[2].rstrip("_")


def _annotation(node: Node) -> Any:
    return node.meta.get(Q_ANNOTATION_KEY)


def _annotate(node: Node, pattern: Pattern, config: ModuleLinearQuantizerConfig) -> None:
    if pattern.shared:
        _annotate_shared(node, config)
        return
    inputs: dict[Node, Any] = {}
    if config.activation is not None:
        given: list[Any] = [node.args[place] for place in pattern.activations]
        if not all(map(_is_float, given)) and pattern.weight is None:
            return  # a number beside a tensor, or integers
        inputs |= {source: _source_spec(source, config) for source in given if _is_float(source)}
    if pattern.weight is not None:
        weight: Any = node.args[pattern.weight]
        if weight.op not in ("get_attr", "placeholder"):
            return  # computed at run time: nothing to store in fewer bits
        inputs[weight] = _weight_spec(config, pattern.channel)
    chain = _fused(node) if pattern.result else [node]
    result = _result_spec(chain[-1], config) if pattern.result else None
    for part in chain:
        part.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation(
            input_qspec_map=inputs if part is node else {},
            output_qspec=result if part is chain[-1] else None,
            _annotated=True,
        )


def _annotate_shared(node: Node, config: ModuleLinearQuantizerConfig) -> None:
    """One scale for all that goes in and what comes out, where a quantized value goes in."""
    first: Any = node.args[0]
    sources: list[Any] = list(first) if isinstance(first, (list, tuple)) else [first]
    if config.activation is None or not sources or not all(map(_is_float, sources)):
        return
    if not any(_is_quantized(source) for source in sources):
        return
    lead = next(source for source in sources if _is_quantized(source))
    share = SharedQuantizationSpec(lead)
    node.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation(
        input_qspec_map=dict.fromkeys(sources, share), output_qspec=share, _annotated=True
    )


def _fused(node: Node) -> list[Node]:
    """The node, and the batch norm and activation that take its result and are its only reader."""
    chain = [node]
    for ops in (BATCH_NORMS, ACTIVATIONS):
        users = list(chain[-1].users)
        if len(users) == 1 and users[0].target in ops and _annotation(users[0]) is None:
            chain.append(users[0])
    return chain


def _is_float(value: Any) -> TypeGuard[Node]:
    if not isinstance(value, Node):
        return False
    made = value.meta.get("val")
    return isinstance(made, torch.Tensor) and made.dtype is torch.float32


def _is_quantized(node: Node) -> bool:
    found = _annotation(node)
    return found is not None and found.output_qspec is not None


def _source_spec(source: Node, config: ModuleLinearQuantizerConfig) -> Any:
    """How an argument is quantized: as its maker says, so that it is quantized once."""
    if _is_quantized(source):
        return _annotation(source).output_qspec
    assert config.activation is not None
    return _spec(config.activation, config.symmetric, config.activation_observer, None)


def _result_spec(node: Node, config: ModuleLinearQuantizerConfig) -> Any:
    if config.activation is None:
        return None
    symmetric = config.symmetric and not _never_negative(node)
    return _spec(config.activation, symmetric, config.activation_observer, None)


def _never_negative(node: Node) -> bool:
    low: Any = node.args[1] if node.target in CLAMPS and len(node.args) > 1 else None
    return node.target in NEVER_NEGATIVE or bool(low == 0)


def _weight_spec(config: ModuleLinearQuantizerConfig, channel: int) -> Any:
    assert config.weight is not None
    axis = channel if config.weight_per_channel else None
    return _spec(config.weight, config.symmetric, config.weight_observer, axis)


@cache
def _spec(integers: Integers, symmetric: bool, observer: ObserverType, axis: int | None) -> Any:
    """Cached: PT2E lets equal specs of one value share an observer, and compares by identity."""
    per_channel = axis is not None
    scheme = _SCHEMES[symmetric, per_channel]
    # A full range is not named: naming it puts the middle of unsigned integers at 127, not 128.
    full = integers.high - integers.low == 255
    used = {} if full else {"quant_min": integers.low, "quant_max": integers.high}
    placed = {"ch_axis": axis} if per_channel else {}
    constructor = FakeQuantize.with_args(
        observer=_OBSERVERS[observer, per_channel],
        dtype=integers.dtype,
        qscheme=scheme,
        **used,
        **placed,
    )
    return QuantizationSpec(
        dtype=integers.dtype,
        observer_or_fake_quant_ctr=constructor,
        qscheme=scheme,
        **used,
        **placed,
    )
