"""Simulated RTSP cameras: what they send is numbered, so that a recording can be checked picture by picture.

Run as a command (`python -m recorderd.simulate`), never imported by the daemon.
"""
