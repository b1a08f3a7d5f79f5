"""Lowering as ``export`` and ``report`` do it: the options, the work, and how far it is."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from executorch_coreml.errors import OptionsError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem
    from executorch.exir import EdgeProgramManager
    from executorch.exir.backend.compile_spec_schema import CompileSpec
    from torch.export import ExportedProgram

    from executorch_coreml.partition import CoreMLPartitioner
    from executorch_coreml.report.source import Program

F = TypeVar("F", bound=Callable[..., Any])

_METHOD = re.compile(r"([A-Za-z_]\w*)=(.+)")
_DEFAULT_METHOD = "forward"
UNITS = ("ALL", "CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE")
TARGETS = ("iOS15", "iOS16", "iOS17", "iOS18", "iOS26")
SEVERAL = """\b
Several models become methods of one program, with one set of weights:
  etcoreml export prefill=llm.py:prefill decode=llm.py:decode"""


@dataclass(frozen=True, slots=True)
class Lowering:
    """The options of a command line; see :func:`lowering_options`."""

    compute_unit: str
    target: str | None
    precision: str
    model_type: str
    quantize: dict[str, Any] | None
    prune: dict[str, Any] | None
    passes: tuple[str, ...]
    keep_fp32: tuple[str, ...]
    weight_sharing: str
    shapes: dict[str, Any] | None
    skip: tuple[str, ...]
    states: bool
    full_graph: bool
    constants: bool


@dataclass(frozen=True, slots=True, eq=False)
class Lowered:
    """An edge program with its delegates, and what partitioned each method."""

    edge: EdgeProgramManager
    partitioners: Mapping[str, CoreMLPartitioner]

    def programs(self) -> dict[str, Program]:
        """What a report needs of each method; to be taken before the ``.pte`` is made."""
        from executorch_coreml.report.source import program_of

        return {name: program_of(self.edge.exported_program(name)) for name in self.partitioners}

    def write(self, path: Path) -> int:
        """Makes and writes the ``.pte``; its size in bytes."""
        from executorch_coreml.cli.output import replacing

        program = self.edge.to_executorch()
        with replacing(path) as part, part.open("wb") as file:
            program.write_to_file(file)
        return path.stat().st_size


def lowering_options(function: F) -> F:
    """Adds an option for every compile option; the command gets them as keywords."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def chosen(given: dict[str, Any]) -> Lowering:
    """The options among a command's keywords, which are taken out of them."""
    return Lowering(**{field.name: given.pop(field.name) for field in fields(Lowering)})


def _config(ctx: click.Context, param: click.Parameter, text: str | None) -> Any:
    """JSON, or the name of a file of it behind an ``@``."""
    if text is None:
        return None
    try:
        found = json.loads(Path(text[1:]).read_text() if text.startswith("@") else text)
    except OSError as error:
        raise click.BadParameter(f"{text[1:]}: {error.strerror}") from error
    except ValueError as error:
        raise click.BadParameter(f"no JSON: {error}") from error
    if not isinstance(found, dict):
        raise click.BadParameter("a JSON object is expected")
    return found


_JSON: dict[str, Any] = {"callback": _config, "metavar": "JSON|@FILE"}
_OPTIONS = (
    click.option(
        "--compute-unit",
        type=click.Choice(UNITS),
        default="ALL",
        show_default=True,
        help="The units that Core ML may use.",
    ),
    click.option(
        "--target", type=click.Choice(TARGETS), help="The oldest OS; the lowest possible if none."
    ),
    click.option(
        "--precision",
        type=click.Choice(["float16", "float32"]),
        default="float16",
        show_default=True,
        help="The compute precision.",
    ),
    click.option(
        "--keep-fp32",
        multiple=True,
        metavar="MODULE[:OP]",
        help="A module to keep in float32; repeatable.",
    ),
    click.option("--quantize", help="op_linear_quantizer_config: weights in few bits.", **_JSON),
    click.option("--prune", help="op_pruner_config: weights without their zeros.", **_JSON),
    click.option("--shapes", help="enumerated_shapes: input -> its only shapes.", **_JSON),
    click.option(
        "--pass", "passes", multiple=True, metavar="NAME", help="A coremltools pass; repeatable."
    ),
    click.option(
        "--weight-sharing",
        type=click.Choice(["by_content", "positional", "disabled"]),
        default="by_content",
        show_default=True,
        help="How methods come to share a model.",
    ),
    click.option(
        "--model-type",
        type=click.Choice(["model", "compiled_model"]),
        default="model",
        show_default=True,
        help="A package, or on a Mac a compiled model.",
    ),
    click.option("--skip", multiple=True, metavar="OP", help="An op to leave outside; repeatable."),
    click.option("--full-graph", is_flag=True, help="Fail if something must stay outside."),
    click.option(
        "--states/--no-states",
        default=True,
        show_default=True,
        help="Let Core ML states stand for mutated buffers.",
    ),
    click.option(
        "--constants/--no-constants",
        default=True,
        show_default=True,
        help="Store weights inside the delegates.",
    ),
)


def files(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Lets the shell complete files where a model is named by more than its path."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


models_argument = click.argument(
    "models", nargs=-1, required=True, metavar="[METHOD=]MODEL...", shell_complete=files
)


def output_option(default: str, what: str) -> Callable[[F], F]:
    return click.option(
        "-o",
        "--output",
        type=click.Path(path_type=Path),
        default=Path(default),
        show_default=True,
        help=what,
    )


class Progress:
    """Says on stderr what is being done: while it is done on a terminal, with ``-v`` elsewhere.

    Args:
        verbose: Keep a line with the time that each step took.
    """

    def __init__(self, verbose: bool):
        self._verbose = verbose
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        start = time.perf_counter()
        with self._shown(what):
            yield
        took = self.seconds[what] = round(time.perf_counter() - start, 2)
        if self._verbose:
            click.echo(f"{what}: {took:.1f} s", err=True)

    @contextmanager
    def _shown(self, what: str) -> Iterator[None]:
        if not sys.stderr.isatty():
            yield
            return
        from rich.console import Console

        with Console(stderr=True).status(f"{what} ..."):
            yield


def lower(models: tuple[str, ...], options: Lowering, progress: Progress) -> Lowered:
    """Loads, exports and lowers the models of a command line, each as a method.

    Raises:
        CompileError: A model cannot be loaded, exported or lowered.
        OptionsError: An option is unknown, or contradicts another one.
    """
    from executorch_coreml.cli.load import load
    from executorch_coreml.cli.output import quiet_imports

    methods = _methods(models)
    with progress.step("loading"), quiet_imports():
        sources = {method: load(place) for method, place in methods.items()}
    with progress.step("importing"), quiet_imports():
        from executorch.exir import to_edge_transform_and_lower

        from executorch_coreml.debug.run import exported
        from executorch_coreml.partition import CoreMLPartitioner, edge_compile_config
        from executorch_coreml.partition.edge import refusals_of_executorch
    with progress.step("exporting"), quiet_imports(logging.ERROR):
        programs = {name: exported(each.model, each.inputs) for name, each in sources.items()}
    partitioners = {
        name: CoreMLPartitioner(
            skip_ops_for_coreml_delegation=options.skip,
            compile_specs=_specs(options, program),
            take_over_mutable_buffer=options.states,
            lower_full_graph=options.full_graph or options.shapes is not None,
            take_over_constant_data=options.constants,
        )
        for name, program in programs.items()
    }
    refusals = refusals_of_executorch(programs.values())
    with progress.step("lowering"), warnings.catch_warnings(), refusals:
        warnings.simplefilter("ignore")
        edge = to_edge_transform_and_lower(
            programs,
            partitioner={name: [each] for name, each in partitioners.items()},
            compile_config=edge_compile_config(),
        )
    return Lowered(edge, partitioners)


def _methods(models: tuple[str, ...]) -> dict[str, str]:
    """Method -> the model of it."""
    if len(models) == 1 and _METHOD.fullmatch(models[0]) is None:
        return {_DEFAULT_METHOD: models[0]}
    found: dict[str, str] = {}
    for text in models:
        match = _METHOD.fullmatch(text)
        if match is None:
            raise OptionsError(f"{text!r} names no method", hint=f"write METHOD={text}")
        if match[1] in found:
            raise OptionsError(f"method {match[1]} is given twice")
        found[match[1]] = match[2]
    return found


def _specs(options: Lowering, program: ExportedProgram) -> list[CompileSpec]:
    from executorch_coreml import CoreMLBackend

    specs = CoreMLBackend.generate_compile_specs(
        compute_unit=options.compute_unit,
        minimum_deployment_target=options.target,
        compute_precision=options.precision,
        model_type=options.model_type,
        op_linear_quantizer_config=options.quantize,
        pass_names=options.passes,
        keep_fp32=options.keep_fp32,
        op_pruner_config=options.prune,
    )
    sharing = CoreMLBackend.generate_multimethod_weight_sharing_strategy_compile_spec(
        options.weight_sharing
    )
    if options.weight_sharing != "by_content":
        specs.append(sharing)
    if options.shapes is not None:
        specs.append(CoreMLBackend.generate_enumerated_shapes_compile_spec(program, options.shapes))
    return specs
