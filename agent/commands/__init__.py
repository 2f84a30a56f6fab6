"""One module per command: `add_arguments(parser)` and `run(arguments) -> exit code`. `agent.cli` knows them by name."""
