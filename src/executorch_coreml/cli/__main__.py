"""``python -m executorch_coreml.cli``: the command where its script is not on the path."""

from executorch_coreml.cli import main

main(prog_name="etcoreml")
