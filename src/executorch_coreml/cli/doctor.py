"""``etcoreml doctor``: whether this installation works, and how to make it."""

from __future__ import annotations

from dataclasses import asdict

import click

_BROKEN = 3  # exit code
_MARKS = {"ok": "ok", "note": "note", "bad": "BAD"}


@click.command("doctor", short_help="Check the installation, with the command for each fix.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> None:
    """Check this installation: versions, combinations that do not work, devices, the plugin.

    What is wrong comes with the command that fixes it. The exit code is 3 if something is: a note
    is about what only some uses need.
    """
    from executorch_coreml.cli.checks import checks
    from executorch_coreml.cli.output import print_json, print_table

    found = list(checks())
    bad = [check for check in found if check.state == "bad"]
    if as_json:
        print_json({"ok": not bad, "checks": [asdict(check) for check in found]})
    else:
        rows = [(check.name, _MARKS[check.state], check.found, check.note) for check in found]
        print_table(["check", "", "found", "what it means"], rows)
        for check in found:
            if check.fix:
                click.echo(f"{check.name}: {check.fix}")
        click.echo("all that is required works" if not bad else f"{len(bad)} to fix")
    if bad:
        click.get_current_context().exit(_BROKEN)
