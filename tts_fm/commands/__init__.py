"""The verbs of the command line that are not a room of their own; cli.VERBS names them."""
