"""The command line. What it shows is asked of the workspace; nothing is decided here."""
