"""Damaged files of every kind, made on purpose, and what the product says of them: `make mutate`."""
