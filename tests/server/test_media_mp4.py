"""media.mp4: one file, ranges, conditions, the truth about reclaimed bytes."""

from __future__ import annotations

import io
from pathlib import Path

import av
from server_scene import CAMERAS, T0, S, Scene, record, scene, video_clip

from recorderd.core.timerange import format_time

BASE = "/api/v1/cameras/gate/media.mp4"


def url(start_s: float, end_s: float, **more: str) -> str:
    extra = "".join(f"&{name}={value}" for name, value in more.items())
    return f"{BASE}?start={format_time(T0 + int(start_s * S))}&end={format_time(T0 + int(end_s * S))}{extra}"


async def test_the_file_holds_every_frame_and_sound_as_recorded(server: Scene) -> None:
    async with server.client.get(url(0, 10)) as answer:
        assert answer.status == 200, await answer.text()
        body = await answer.read()
        assert answer.content_length == len(body)
        assert answer.headers["X-Start-Time"] == format_time(T0)
        assert answer.content_type == "video/mp4"
    with av.open(io.BytesIO(body)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
        assert float(container.duration / av.time_base) == 10.0
        assert {stream.type for stream in container.streams} == {"video", "audio"}
    assert packets == [data for data, _, _, _ in video_clip().samples]


async def test_ranges_of_one_url_are_bytes_of_one_file(server: Scene) -> None:
    async with server.client.get(url(0, 10)) as answer:
        whole, etag = await answer.read(), answer.headers["ETag"]
    assert etag.startswith('"')
    for header, start, end in [
        ("bytes=0-0", 0, 1),
        ("bytes=100-2999", 100, 3000),
        ("bytes=-500", len(whole) - 500, len(whole)),
        (f"bytes={len(whole) - 1}-", len(whole) - 1, len(whole)),
        (f"bytes=10-{10**15}", 10, len(whole)),
    ]:
        async with server.client.get(url(0, 10), headers={"Range": header}) as answer:
            assert answer.status == 206, header
            assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/{len(whole)}"
            assert answer.headers["ETag"] == etag
            assert await answer.read() == whole[start:end], header


async def test_conditions(server: Scene) -> None:
    async with server.client.get(url(0, 10)) as answer:
        whole, etag = await answer.read(), answer.headers["ETag"]
    cases = [
        ({"If-None-Match": etag}, 304),
        ({"If-Match": etag}, 200),
        ({"If-Match": '"other"'}, 412),
        ({"If-Range": etag, "Range": "bytes=5-9"}, 206),
        ({"If-Range": '"other"', "Range": "bytes=5-9"}, 200),
        ({"Range": f"bytes={len(whole)}-"}, 416),
        ({"Range": "bytes=0-1,5-6"}, 200),
        ({"Range": "lines=0-1"}, 200),
    ]
    for headers, status in cases:
        async with server.client.get(url(0, 10), headers=headers) as answer:
            assert answer.status == status, headers
            await answer.read()
            if status == 416:
                assert answer.headers["Content-Range"] == f"bytes */{len(whole)}"


async def test_head_tells_length_and_etag_without_bytes(server: Scene) -> None:
    async with server.client.get(url(1, 4)) as answer:
        length, etag = len(await answer.read()), answer.headers["ETag"]
    async with server.client.head(url(1, 4)) as answer:
        assert answer.status == 200
        assert (int(answer.headers["Content-Length"]), answer.headers["ETag"]) == (length, etag)
        assert await answer.read() == b""


async def test_end_is_cut_to_what_is_durable_and_ranges_are_sent_to_a_fixed_file(server: Scene) -> None:
    async with server.client.get(url(0, 60)) as answer:
        assert answer.status == 200
        assert answer.headers["X-End-Time"] <= format_time(T0 + 11 * S)
        whole = await answer.read()
    async with server.client.get(url(0, 60), headers={"Range": "bytes=0-"}, allow_redirects=False) as answer:
        assert answer.status == 307
        there = answer.headers["Location"]
    async with server.client.get(there, headers={"Range": "bytes=0-"}) as answer:
        assert answer.status == 206
        first, etag = await answer.read(), answer.headers["ETag"]
    assert first == whole
    await record(server.store, "gate", start=0, end=50, shift_us=10 * S, new_run=True)
    async with server.client.get(there, headers={"Range": "bytes=0-99"}) as answer:
        assert (answer.status, answer.headers["ETag"]) == (206, etag)
    async with server.client.get(url(0, 60)) as answer:
        assert answer.headers["ETag"] != etag


async def test_relative_times_work_and_their_ranges_are_sent_on(server: Scene) -> None:
    path = f"{BASE}?start=-11s&end=now"
    async with server.client.get(path) as answer:
        assert answer.status == 200
    async with server.client.get(path, headers={"Range": "bytes=0-9"}) as answer:
        assert answer.status == 206
        assert answer.history[0].status == 307
        assert len(await answer.read()) == 10


async def test_a_gap_is_the_long_duration_of_the_picture_before_it(tmp_path: Path) -> None:
    async with scene(tmp_path) as made:
        made.clock.advance(20 * S)
        await record(made.store, "gate", start=0, end=30)
        await record(made.store, "gate", start=30, end=60, shift_us=4 * S, new_run=True)
        async with made.client.get(url(0, 10)) as answer:
            body = await answer.read()
        with av.open(io.BytesIO(body)) as container:
            times = [float(packet.pts * packet.time_base) for packet in container.demux(video=0) if packet.size]
            assert float(container.duration / av.time_base) == 10.0
        assert len(times) == 60
        assert times[30] - times[29] == 4.1
        document = await made.json(url(0, 10).replace("media.mp4", "media.json"))
        video = document["tracks"][0]
        assert [anchor["media_us"] for anchor in video["anchors"]] == [0, 7 * S]
        assert video["anchors"][1]["time"] == format_time(T0 + 7 * S)
        assert document["length"] == len(body)


async def test_reclaimed_bytes_give_412_never_other_bytes(tmp_path: Path) -> None:
    """The first segment goes between two ranges: once with the plan remembered, once with the ETag alone."""
    async with scene(tmp_path, store={"segment_us": 3 * S}) as made:
        for second in range(10):
            made.clock.advance(S)
            await record(made.store, "gate", start=second * 10, end=second * 10 + 10, audio=False)
        async with made.client.get(url(0, 10), headers={"Range": "bytes=0-99"}) as answer:
            if answer.status != 206:
                raise AssertionError(await answer.text())
        oldest = sorted((tmp_path / "volume").rglob("*.rseg"))[0]
        made.store.reader.removed(oldest)
        oldest.unlink()
        await made.problem(url(0, 10), "footage-reclaimed", headers={"Range": "bytes=2000-2999"})
        await made.problem(url(0, 10), "footage-reclaimed", headers={"Range": "bytes=2000-2999"})
        async with made.client.get(url(0, 10)) as answer:
            assert answer.status == 200


async def test_refusals(server: Scene) -> None:
    await server.problem(f"{BASE}?start=-40d&end=now", "range-too-long")
    await server.problem(f"{BASE}?start=now&end=-10m", "bad-request")
    await server.problem(f"{BASE}?start=yesterday&end=now", "bad-request")
    await server.problem(f"{BASE}?start=-1m&end=now&speed=2", "unknown-parameter")
    await server.problem(f"{BASE}?start=-1m&end=now&stream=third", "not-found")
    await server.problem(BASE.replace("gate", "nobody") + "?start=-1m&end=now", "not-found")
    nothing = await server.problem(BASE.replace("gate", "yard") + "?start=-1m&end=now", "no-footage")
    assert nothing["params"]["causes"]
    by_id = f"/api/v1/cameras/{CAMERAS['gate']}/media.mp4?start=-11s&end=now"
    async with server.client.get(by_id) as answer:
        assert answer.status == 200
