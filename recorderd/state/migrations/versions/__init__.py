"""One file per step, never changed after its release."""
