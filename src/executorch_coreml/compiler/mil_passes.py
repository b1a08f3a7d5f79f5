"""Graph passes of coremltools that a user names (``pass_names``).

The program that lowering makes is final, and none of coremltools' passes runs by itself: its
default pipeline takes most of the time of a conversion and is behind several wrong results. Named
passes run on the finished program, in the order given, before it is serialised. They may rewrite
what is inside; :mod:`.package` compares the border afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from executorch_coreml.compiler.quiet import quiet_coremltools
from executorch_coreml.errors import OptionsError


def check_pass_names(names: Sequence[str]) -> None:
    """
    Raises:
        OptionsError: coremltools has no pass of some name; similar ones are suggested.
    """
    with quiet_coremltools():
        from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY

    known = list(PASS_REGISTRY.passes)
    unknown = [name for name in names if name not in PASS_REGISTRY]
    if unknown:
        near = dict.fromkeys(n for name in unknown for n in get_close_matches(name, known))
        raise OptionsError(
            f"coremltools has no passes {', '.join(map(repr, unknown))}",
            hint=f"did you mean {', '.join(near)}?"
            if near
            else "names look like 'common::const_elimination'",
        )


def pass_pipeline(names: Sequence[str]) -> Any:
    """coremltools' ``PassPipeline`` of the named passes; empty by default."""
    check_pass_names(names)
    import coremltools as ct

    if not names:
        return ct.PassPipeline.EMPTY
    return ct.PassPipeline(list(names), pipeline_name="executorch_user_pipeline")


def run_passes(program: Any, names: Sequence[str]) -> None:
    """Runs the named passes on a program, in place."""
    if names:
        from coremltools.converters.mil.mil.passes.pass_pipeline import PassPipelineManager

        PassPipelineManager.apply_pipeline(program, pass_pipeline(names))
