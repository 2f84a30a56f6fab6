"""One file per command: its arguments, its help, and what it prints. Everything heavy is imported when it runs."""
