"""One RTSP server over `recorderd.wire`: TCP interleaved, a table of mounts, no idea where media comes from."""
