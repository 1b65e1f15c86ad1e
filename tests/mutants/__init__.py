"""Small changes to the code, each of which some test should notice: ``tox -e mutants``."""
