"""What to quantize, and how: coremltools' ``LinearQuantizerConfig`` in equal dataclasses.

coremltools' own classes do not import beside every torch, so nothing here needs them; objects of
theirs are accepted and read field by field, as are dictionaries and YAML.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from os import PathLike
from typing import Any, TypeVar

import torch

from executorch_coreml.errors import OptionsError
from executorch_coreml.quantizer.from_yaml import Yaml, read_yaml


class QuantizationScheme(Enum):
    """Where zero lies: ``symmetric`` in the middle of the range, ``affine`` anywhere in it."""

    symmetric = "symmetric"
    affine = "affine"


class ObserverType(Enum):
    """How the range of a tensor is found."""

    moving_average_min_max = "moving_average_min_max"
    min_max = "min_max"


@dataclass(frozen=True, slots=True)
class Integers:
    """The integers that stand for the values: a torch dtype, and how much of it is used."""

    dtype: torch.dtype
    low: int
    high: int


_INTEGERS = {
    torch.qint8: Integers(torch.int8, -128, 127),
    torch.quint8: Integers(torch.uint8, 0, 255),
    "qint4": Integers(torch.int8, -8, 7),
    "quint4": Integers(torch.uint8, 0, 15),
}
_SPELLINGS: dict[Any, Any] = {
    torch.int8: torch.qint8,
    torch.uint8: torch.quint8,
    "int8": torch.qint8,
    "uint8": torch.quint8,
    "qint8": torch.qint8,
    "quint8": torch.quint8,
    "int4": "qint4",
    "uint4": "quint4",
    "float32": torch.float32,
}
_ACTIVATIONS = (torch.quint8, torch.qint8, torch.float32)
_WEIGHTS = (torch.qint8, torch.quint8, "qint4", "quint4", torch.float32)


@dataclass(frozen=True)
class ModuleLinearQuantizerConfig:
    """How the layers of one module, of one type or of the whole model are quantized.

    Attributes:
        algorithm: ``"vanilla"``.
        weight_dtype: ``torch.qint8``, ``torch.quint8``, ``"qint4"``, ``"quint4"``, or
            ``torch.float32`` to leave the layers as they are. 4 bits need deployment target iOS18.
        weight_observer, activation_observer: How ranges are found.
        weight_per_channel: One scale per output channel, else one per tensor.
        activation_dtype: ``torch.quint8``, ``torch.qint8``, or ``torch.float32`` to quantize
            weights only.
        quantization_scheme: For weights and activations. Results of ReLU and the like, which are
            never negative, use the whole range under either scheme.
        milestones: None. Observers are switched in the training loop of PT2E, not by a step count;
            what other tools put here is ignored.

    Raises:
        OptionsError: A value that is none of the allowed ones.
    """

    algorithm: str = "vanilla"
    weight_dtype: Any = torch.qint8
    weight_observer: Any = ObserverType.moving_average_min_max
    weight_per_channel: bool = True
    activation_dtype: Any = torch.quint8
    activation_observer: Any = ObserverType.moving_average_min_max
    quantization_scheme: Any = QuantizationScheme.symmetric
    milestones: Any = None

    def __post_init__(self) -> None:
        if self.algorithm != "vanilla":
            raise OptionsError(f"algorithm must be 'vanilla'; got {self.algorithm!r}")
        if not isinstance(self.weight_per_channel, bool):
            raise OptionsError(f"weight_per_channel is a bool; got {self.weight_per_channel!r}")
        for name, read in (
            ("weight_dtype", _dtype_reader(_WEIGHTS)),
            ("activation_dtype", _dtype_reader(_ACTIVATIONS)),
            ("weight_observer", _enum_reader(ObserverType)),
            ("activation_observer", _enum_reader(ObserverType)),
            ("quantization_scheme", _enum_reader(QuantizationScheme)),
        ):
            object.__setattr__(self, name, read(name, getattr(self, name)))

    @property
    def weight(self) -> Integers | None:
        """The integers of weights; None leaves the layers as they are."""
        return _INTEGERS.get(self.weight_dtype)

    @property
    def activation(self) -> Integers | None:
        """The integers of activations; None quantizes weights only."""
        return _INTEGERS.get(self.activation_dtype)

    @property
    def symmetric(self) -> bool:
        """Whether zero points are fixed."""
        return self.quantization_scheme is QuantizationScheme.symmetric

    @classmethod
    def from_dict(cls, config_dict: Mapping[str, Any]) -> ModuleLinearQuantizerConfig:
        """From a mapping of field names, in coremltools' spelling."""
        return cls(**_known(cls, config_dict))

    @classmethod
    def from_yaml(cls, yml: Yaml) -> ModuleLinearQuantizerConfig:
        """From a YAML file, given by path or open, or from YAML text."""
        return _from_yaml(cls, yml)


E = TypeVar("E", bound=Enum)


def _enum_reader(enum: type[E]) -> Callable[[str, Any], E]:
    def read(name: str, given: Any) -> E:
        value = getattr(given, "value", given)  # of an enum of coremltools' or of ours
        try:
            return enum(value)
        except ValueError:
            allowed = ", ".join(repr(member.value) for member in enum)
            raise OptionsError(f"{name} must be one of {allowed}; got {value!r}") from None

    return read


def _dtype_reader(allowed: tuple[Any, ...]) -> Callable[[str, Any], Any]:
    def read(name: str, given: Any) -> Any:
        text = given.removeprefix("torch.") if isinstance(given, str) else given
        chosen = _SPELLINGS.get(text, text)
        if chosen not in allowed:
            names = ", ".join(str(one).removeprefix("torch.") for one in allowed)
            raise OptionsError(f"{name} must be one of {names}; got {given!r}")
        return chosen

    return read


@dataclass(frozen=True)
class LinearQuantizerConfig:
    """Which layers are quantized how: by module name, else by module type, else as the rest.

    Attributes:
        global_config: For layers that nothing else names. None leaves them as they are, unless no
            other field is given either: then everything is quantized with the defaults.
        module_type_configs: ``torch.nn`` classes, functions (``torch.add``) or their names ->
            a config, or None to leave those layers as they are.
        module_name_configs: Dotted paths of modules, which stand for all that is inside, -> a
            config or None.
        non_traceable_module_names, preserved_attributes: Without meaning for exported models.

    Raises:
        OptionsError: A config or a type that cannot be read; the message names its key.
    """

    global_config: ModuleLinearQuantizerConfig | None = None
    module_type_configs: Mapping[Any, ModuleLinearQuantizerConfig | None] = field(
        default_factory=dict
    )
    module_name_configs: Mapping[str, ModuleLinearQuantizerConfig | None] = field(
        default_factory=dict
    )
    non_traceable_module_names: tuple[str, ...] = ()
    preserved_attributes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        chosen = _module_config("global_config", self.global_config)
        if chosen is None and not self.module_type_configs and not self.module_name_configs:
            chosen = ModuleLinearQuantizerConfig()
        object.__setattr__(self, "global_config", chosen)
        types, names = (
            _mapping(name, getattr(self, name))
            for name in ("module_type_configs", "module_name_configs")
        )
        for key in names:
            if not isinstance(key, str):
                raise OptionsError(
                    f"module_name_configs has key {key!r}; the path of a module is a string",
                    hint=f'write it in quotes: "{key}"',
                )
        for name, given in (
            ("module_type_configs", {type_name(key): one for key, one in types.items()}),
            ("module_name_configs", names),
        ):
            read = {key: _module_config(f"{name}[{key!r}]", one) for key, one in given.items()}
            object.__setattr__(self, name, read)

    @classmethod
    def from_dict(cls, config_dict: Mapping[str, Any]) -> LinearQuantizerConfig:
        """From nested mappings, in coremltools' spelling."""
        return cls(**_known(cls, config_dict))

    @classmethod
    def from_yaml(cls, yml: Yaml) -> LinearQuantizerConfig:
        """From a YAML file, given by path or open, or from YAML text.

        Raises:
            OptionsError: It cannot be read; the message names the file, the key and the module.
        """
        return _from_yaml(cls, yml)


C = TypeVar("C", ModuleLinearQuantizerConfig, LinearQuantizerConfig)


def _from_yaml(cls: type[C], yml: Yaml) -> C:
    source, found = read_yaml(yml)
    try:
        return cls.from_dict(found)
    except OptionsError as cause:
        place = ": ".join(filter(None, (source, cause.location)))
        raise OptionsError(cause.message, location=place or None, hint=cause.hint) from None


def quantizer_config(given: Any) -> LinearQuantizerConfig:
    """A config of ours from one of ours, coremltools', a mapping, YAML, or None for the defaults.

    Raises:
        OptionsError: It is none of these, or holds what cannot be honoured.
    """
    if given is None or isinstance(given, LinearQuantizerConfig):
        return given or LinearQuantizerConfig()
    if isinstance(given, Mapping):
        return LinearQuantizerConfig.from_dict(given)
    if isinstance(given, (str, PathLike)) or hasattr(given, "read"):
        return LinearQuantizerConfig.from_yaml(given)
    if hasattr(given, "global_config"):
        return LinearQuantizerConfig(**_read(LinearQuantizerConfig, given))
    raise OptionsError(f"a LinearQuantizerConfig, a mapping or YAML is needed; got {given!r}")


def _mapping(name: str, given: Any) -> dict[Any, Any]:
    if not isinstance(given, Mapping):
        raise OptionsError(f"it must be a mapping; got {given!r}", location=name)
    return dict(given)


def _module_config(key: str, given: Any) -> ModuleLinearQuantizerConfig | None:
    if given is None or isinstance(given, ModuleLinearQuantizerConfig):
        return given
    try:
        if isinstance(given, Mapping):
            return ModuleLinearQuantizerConfig.from_dict(given)
        if hasattr(given, "weight_dtype"):
            found = _read(ModuleLinearQuantizerConfig, given)
            if getattr(given, "weight_n_bits", 8) == 4:  # coremltools keeps "qint4" as qint8
                unsigned = found["weight_dtype"] == torch.quint8
                found["weight_dtype"] = "quint4" if unsigned else "qint4"
            return ModuleLinearQuantizerConfig(**found)
    except OptionsError as cause:
        raise OptionsError(cause.message, location=key, hint=cause.hint) from None
    raise OptionsError(f"it must be a config, a mapping or None; got {given!r}", location=key)


def _known(cls: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    names = [one.name for one in fields(cls)]
    if not isinstance(given, Mapping):
        raise OptionsError(f"{cls.__name__} needs a mapping; got {given!r}")
    unknown = [str(key) for key in given if key not in names]
    if unknown:
        raise OptionsError(
            f"unknown keys for {cls.__name__}: {', '.join(unknown)}; known: {', '.join(names)}"
        )
    return dict(given)


def _read(cls: Any, given: Any) -> dict[str, Any]:
    """The fields of ``cls`` that an object of another class with the same fields holds."""
    return {f.name: getattr(given, f.name) for f in fields(cls) if hasattr(given, f.name)}


def type_name(given: Any) -> str:
    """What graph nodes call a module type or a function: ``torch.nn.modules.conv.Conv2d``,
    ``conv2d``.

    Raises:
        OptionsError: A name that neither ``torch.nn`` nor torch has.
    """
    if isinstance(given, str):
        short = given.rpartition(".")[2]
        homes = (torch.nn, torch.nn.functional, torch)
        found = next((getattr(h, short) for h in homes if hasattr(h, short)), None)
        if found is None and "." not in given:
            raise OptionsError(
                f"module_type_configs names {given!r}, which is no class of torch.nn or function",
                hint="give the class itself for a module of your own",
            )
        return given if found is None else type_name(found)
    if isinstance(given, type):
        return f"{given.__module__}.{given.__qualname__}"
    if callable(given):
        name = str(given.__name__).strip("_")
        return name.removeprefix("i") if name in ("iadd", "imul") else name
    raise OptionsError(f"module_type_configs has key {given!r}; a type, function or name is needed")
