"""Shared by all tests of the media database: this folder is importable (`oracle`, `fault_fs`, `rig`)."""
