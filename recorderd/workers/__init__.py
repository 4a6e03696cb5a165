"""Child processes for code that may crash, block or leak. Run as commands, never imported by the daemon."""
