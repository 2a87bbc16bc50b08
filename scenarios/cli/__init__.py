"""The command line: a module for each command; ``group`` finds them and turns errors into exits."""
