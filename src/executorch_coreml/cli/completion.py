"""``etcoreml completion``: completion of commands, options and files in a shell."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import click

if TYPE_CHECKING:
    from click.shell_completion import ShellComplete

_VARIABLE = "_ETCOREML_COMPLETE"


@click.command("completion", short_help="Print a script that completes commands in a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(shell: str, as_json: bool) -> None:
    """Print a script that completes commands, options and files in a shell.

    \b
    bash: etcoreml completion bash > ~/.local/share/bash-completion/completions/etcoreml
    zsh:  etcoreml completion zsh > "${fpath[1]}/_etcoreml"
    fish: etcoreml completion fish > ~/.config/fish/completions/etcoreml.fish
    """
    from click.shell_completion import get_completion_class

    from executorch_coreml.cli import main
    from executorch_coreml.cli.output import print_json

    # Not source(): for bash it runs the shell first, which need not be the one in use.
    made = cast("type[ShellComplete]", get_completion_class(shell))(main, {}, "etcoreml", _VARIABLE)
    script = made.source_template % made.source_vars()
    if as_json:
        print_json({"shell": shell, "script": script})
    else:
        click.echo(script)
