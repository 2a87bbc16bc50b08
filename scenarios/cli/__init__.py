"""The command line: one module for each command; ``group`` finds them and turns errors into exits."""
