"""The composition root: builds the server from its parts, starts them in order and stops them in reverse.

Law: the only package that knows every part. It decides nothing about recording, storing or serving; it wires,
watches and takes down. Called by the command line only; nothing below may import it.
"""
