"""A good file becomes values; every bad line becomes a finding with its place, all at once."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from recorderd.config.load import LoadResult, StorageFindings
from recorderd.config.schema import Config, ListenConfig, RtspConfig, ServerConfig, StorageConfig, StreamConfig

pytestmark = pytest.mark.fast
Loader = Callable[..., LoadResult]

STORAGE = '[[storage]]\nname = "main"\npath = "/srv/video"\nretention = "30d"\n'
GATE = '[[hardware]]\nname = "gate"\ndriver = "rtsp"\naddress = "rtsp://192.0.2.10/stream1"\n'
CAMERA = "[[hardware.camera]]\n"


def good(result: LoadResult) -> Config:
    assert result.config is not None, [str(error) for error in result.errors]
    assert result.errors == ()
    return result.config


def test_nothing_at_all_is_the_defaults(load_text: Loader) -> None:
    assert good(load_text("")) == Config()


def test_the_short_form_is_one_camera_named_like_the_hardware(load_text: Loader) -> None:
    config = good(load_text(STORAGE + GATE + 'prebuffer = "10s"\nrecord = "never"\naudio = false\ntimeout_s = 3\n'))
    (device,) = config.hardware
    (camera,) = device.cameras
    assert (camera.name, camera.storage, camera.prebuffer_us, camera.record) == ("gate", "main", 10_000_000, "never")
    assert not camera.audio
    assert device.settings.timeout_s == 3.0
    assert config.storages[0].retention_us == 30 * 86_400_000_000


def test_the_long_form_has_cameras_and_streams(load_text: Loader) -> None:
    id_ = uuid.uuid4()
    text = (
        STORAGE + GATE + f'id = "{id_}"\n'
        + CAMERA + 'name = "left"\nstorage = "main"\n'
        + '[[hardware.camera.stream]]\n[[hardware.camera.stream]]\nrole = "sub"\npath = "/s2?x=1"\nrecord = false\n'
        + CAMERA + 'name = "right"\nchannel = 1\n'
    )  # fmt: skip
    (device,) = good(load_text(text)).hardware
    assert device.id == id_
    assert [(camera.name, camera.channel) for camera in device.cameras] == [("left", 0), ("right", 1)]
    assert device.cameras[0].streams == (StreamConfig(), StreamConfig("sub", "/s2?x=1", False))


def test_several_files_are_one_configuration(load_text: Loader) -> None:
    config = good(
        load_text('[server]\nname = "hq"\n', a10=STORAGE + '[server]\ntime_zone = "Europe/Copenhagen"\n', b20=GATE)
    )
    assert (config.server.name, config.server.time_zone) == ("hq", "Europe/Copenhagen")
    assert config.hardware[0].cameras[0].storage == "main"


BAD = [
    # text, path, words of the message
    ("[server]\nnam = 'x'\n", "server.nam", "unknown key; did you mean 'name'?"),
    ("[server]\nname = 3\n", "server.name", "must be a string, not a whole number"),
    ("[server]\nname = ''\n", "server.name", "not empty"),
    ("[server]\ndata_dir = 'var'\n", "server.data_dir", "absolute path"),
    ("[server]\ntime_zone = 'Mars/Base'\n", "server.time_zone", "unknown time zone"),
    ("[server]\nloop = 'uvlop'\n", "server.loop", "did you mean 'uvloop'?"),
    ("server = 3\n", "server", "must be a table"),
    ("[serve]\n", "serve", "unknown section; did you mean 'server'?"),
    ("[stream]\nlisten = '0.0.0.0:7563'\n", "stream.listen", "not a loopback address"),
    ("[rtsp]\nudp_ports = '50000'\n", "rtsp.udp_ports", "like '50000-50399'"),
    ("[rtsp]\nudp_ports = '900-950'\n", "rtsp.udp_ports", "between 1024"),
    ("[exports]\nfolder = 'out'\n", "exports.folder", "absolute path"),
    ("[exports]\nkeep = '5m'\n", "exports.keep", "too small"),
    ("[rtsp]\nport = 554\n", "rtsp.port", "unknown key"),
    ("[rules]\n", "rules", "not built yet"),
    ("[http]\nlisten = '0.0.0.0:8080'\n", "http.listen", "not a loopback address"),
    ("[http]\nlisten = '192.0.2.1:8080'\n", "http.listen", "not a loopback address"),
    ("[http]\nlisten = '[::]:8080'\n", "http.listen", "not a loopback address"),
    ("[http]\nlisten = 'example.org:8080'\n", "http.listen", "not a loopback address"),
    ("[http]\nlisten = ':8080'\n", "http.listen", "not a loopback address"),
    ("[http]\nlisten = '127.0.0.1'\n", "http.listen", "HOST:PORT"),
    ("[http]\nlisten = '127.0.0.1:99999'\n", "http.listen", "HOST:PORT"),
    ("[http]\nsocket = '/" + "x" * 108 + "'\n", "http.socket", "107 bytes"),
    ("storage = 3\n", "storage", "[[storage]]"),
    ("[storage]\nname = 'x'\n", "storage", "[[storage]]"),
    ("[[storage]]\nname = 'a'\n", "storage[0].path", "is missing"),
    ("[[storage]]\npath = '/a'\n", "storage[0].name", "is missing"),
    ("[[storage]]\nname = 'a/b'\npath = '/a'\n", "storage[0].name", "folder name"),
    ("[[storage]]\nname = 'a'\npath = 'rel'\n", "storage[0].path", "absolute path"),
    (STORAGE + "max_size = '4T'\n", "storage[0].max_size", "not a size"),
    (STORAGE + "max_size = '1MB'\n", "storage[0].max_size", "too small"),
    (STORAGE + "commit = '6s'\n", "storage[0].commit", "too large"),
    (STORAGE + "fallback = 'b'\n", "storage[0].fallback", "there is no storage 'b'; there: main"),
    (STORAGE + "fallback = 'main'\n", "storage[0].fallback", "is the storage itself"),
    (STORAGE + "fallback = 'b'\n[[storage]]\nname = 'b'\npath = '/srv/b'\nfallback = 'c'\n"
     "[[storage]]\nname = 'c'\npath = '/srv/c'\n", "storage[0].fallback", "'b' has a fallback itself"),
    ("[[storage]]\nname = 'a'\npath = '/a'\nretention = '5 weeks'\n", "storage[0].retention", "not a duration"),
    ("[[storage]]\nname = 'a'\npath = '/a'\nretention = 5\n", "storage[0].retention", "must be a string"),
    (STORAGE + "[[storage]]\nname = 'main'\npath = '/b'\n", "storage[1].name", "already used by storage[0]"),
    (STORAGE + "[[storage]]\nname = 'b'\npath = '/srv/video'\n", "storage[1].path", "same folder"),
    (STORAGE + "[[storage]]\nname = 'b'\npath = '/srv/video/deep'\n", "storage[1].path", "inside each other"),
    (STORAGE + "[[storage]]\nname = 'b'\npath = '/srv'\n", "storage[1].path", "inside each other"),
    (STORAGE + "[[storage]]\nname = 'b'\npath = '/srv/x/../video/y'\n", "storage[1].path", "inside each other"),
    (STORAGE + "id = 'no'\n", "storage[0].id", "not a UUID"),
    (STORAGE + GATE.replace("rtsp'", "").replace('driver = "rtsp"', 'driver = "rtps"'), "hardware[0].driver",
     "unknown driver 'rtps'; did you mean 'rtsp'?"),
    (STORAGE + GATE.replace("rtsp://", "http://"), "hardware[0].address", "takes rtsp://, rtsps://"),
    (STORAGE + GATE.replace("192.0.2.10", "admin:pw@192.0.2.10"), "hardware[0].address", "must not contain a login"),
    (STORAGE + GATE.replace("192.0.2.10", "192.0.2.10:0"), "hardware[0].address", "not a valid URL"),
    (STORAGE + GATE.replace("192.0.2.10", "192.0.2.10:http"), "hardware[0].address", "not a valid URL"),
    (STORAGE + GATE.replace("192.0.2.10", "[::1"), "hardware[0].address", "not a valid URL"),
    (STORAGE + GATE + "adress = 'x'\n", "hardware[0].adress", "did you mean 'address'?"),
    (STORAGE + GATE.replace("stream1", "stream2") + "nickname = 'x'\n", "hardware[0].nickname", "does not go with"),
    (STORAGE + GATE + "transport = 'udp'\n", "hardware[0].transport", "'udp' is not built yet"),
    (STORAGE + GATE + "transport = 'pigeon'\n", "hardware[0].transport", "is not one of 'tcp', 'udp'"),
    (STORAGE + GATE + "timeout_s = -1\n", "hardware[0]", "driver 'rtsp' refuses its settings: timeout_s must not be"),
    (STORAGE + GATE + "timeout_s = 'x'\n", "hardware[0].timeout_s", "must be a number"),
    (STORAGE + GATE + "record = 'motion'\n", "hardware[0].record", "'motion' is not built yet"),
    (STORAGE + GATE + "record = 'event'\n", "hardware[0].record", "'event' is not built yet"),
    (STORAGE + GATE + "record = 'schedule'\n", "hardware[0].record", "'schedule' is not built yet"),
    (STORAGE + GATE + "record = 'allways'\n", "hardware[0].record", "did you mean 'always'?"),
    (STORAGE + GATE + "prebuffer = '2h'\n", "hardware[0].prebuffer", "too large"),
    (STORAGE + GATE + "storage = 'mian'\n", "hardware[0].storage", "there is no storage 'mian'; did you mean 'main'?"),
    (GATE, "hardware[0].storage", "add a [[storage]] first"),
    (STORAGE + GATE + "max_size = '1MB'\n", "hardware[0].max_size", "too small"),
    (STORAGE + GATE + "password = 3\n", "hardware[0].password", "must be a table"),
    (STORAGE + GATE + "password = {}\n", "hardware[0].password", "names no source"),
    (STORAGE + GATE + "password = { vault = 'x' }\n", "hardware[0].password", "must name one source"),
    (STORAGE + GATE + "password = { file = 'x' }\n", "hardware[0].password", "absolute path"),
    (STORAGE + GATE + "password = { file = '/not/there' }\n", "hardware[0].password", "cannot read /not/there"),
    (STORAGE + GATE + "password = { env = 'NOT_SET' }\n", "hardware[0].password", "NOT_SET is not set"),
    (STORAGE + GATE + "password = { credential = '../x' }\n", "hardware[0].password", "plain name"),
    (STORAGE + GATE + GATE.replace("stream1", "s2"), "hardware[1].name", "already used by hardware[0]"),
    (STORAGE + GATE + GATE.replace('"gate"', '"b"'), "hardware[1].address", "already used by hardware[0]"),
    (STORAGE + GATE.replace("gate", "a/b"), "hardware[0].name", "without /"),
    (STORAGE + GATE.replace("gate", str(uuid.UUID(int=5))), "hardware[0].name", "looks like an id"),
    (STORAGE + GATE + "record = 'always'\n" + CAMERA + "name = 'a'\n", "hardware[0].record", "[[hardware.camera]]"),
    (STORAGE + GATE + CAMERA, "hardware[0].camera[0].name", "is missing"),
    (STORAGE + GATE + CAMERA + "name='a'\n" + CAMERA + "name='b'\n", "hardware[0].camera[1].channel",
     "already camera[0]"),
    (STORAGE + GATE + CAMERA + "name='a'\n" + CAMERA + "name='a'\nchannel=1\n", "hardware[0].camera[1].name",
     "already used"),
    (STORAGE + GATE + CAMERA + "name='a'\nretention={min='9d', max='1d'}\n",
     "hardware[0].camera[0].retention.min", "is longer than max"),
    (STORAGE + GATE + CAMERA + "name='a'\nretention={mni='9d'}\n",
     "hardware[0].camera[0].retention.mni", "unknown key; did you mean 'min'?"),
    (STORAGE + GATE + CAMERA + "name='a'\nretention={min='31d'}\n", "hardware[0].retention", "give a max too"),
    (STORAGE + GATE + CAMERA + "name='a'\n[[hardware.camera.stream]]\nrole='third'\n",
     "hardware[0].camera[0].stream[0].role", "is not one of"),
    (STORAGE + GATE + CAMERA + "name='a'\n[[hardware.camera.stream]]\nrole='sub'\n",
     "hardware[0].camera[0].stream", 'role = "main"'),
    (STORAGE + GATE + CAMERA + "name='a'\n[[hardware.camera.stream]]\npath='rtsp://evil/'\n",
     "hardware[0].camera[0].stream[0].path", "path and query"),
    (STORAGE + GATE + CAMERA + "name='a'\n[[hardware.camera.stream]]\nrecord='yes'\n",
     "hardware[0].camera[0].stream[0].record", "must be true or false"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "path", "words"), BAD, ids=[f"{path}-{words[:24]}" for _, path, words in BAD])
def test_a_bad_line_is_found_where_it_stands(load_text: Loader, text: str, path: str, words: str) -> None:
    result = load_text(text)
    assert result.config is None
    assert [error.path for error in result.errors] == [path], [str(error) for error in result.errors]
    assert words in result.errors[0].message


def test_all_errors_come_at_once_with_their_files(load_text: Loader) -> None:
    result = load_text(
        "[http]\nlisten = '0.0.0.0:1'\n" + GATE.replace('"rtsp"', '"no"'),
        extra="[server]\nx = 1\n" + STORAGE + "y = 2\n",
    )
    found = {
        str(error).partition(": ")[0] if not error.file else f"{error.file}|{error.path}" for error in result.errors
    }
    assert found == {
        "http.listen",
        "hardware[0].driver",
        "conf.d/extra.toml|server.x",
        "conf.d/extra.toml|storage[0].y",
    }


def test_a_key_set_in_two_files_is_refused(load_text: Loader) -> None:
    (error,) = load_text("[server]\nname = 'a'\n", more="[server]\nname = 'b'\n").errors
    assert str(error).startswith("conf.d/more.toml: server.name: is already set")


@pytest.mark.parametrize("text", ["[server\n", "a = 1\na = 2\n", "x = " + "[" * 5000])
def test_broken_toml_names_the_file(load_text: Loader, tmp_path: Path, text: str) -> None:
    errors = load_text(text).errors
    assert errors[0].file == str(tmp_path / "recorderd.toml")
    assert "not valid TOML" in errors[0].message


def test_no_file_and_no_text(load_text: Loader, tmp_path: Path) -> None:
    from recorderd.config.load import load, look_nowhere

    (error,) = load(tmp_path / "absent.toml", {}, look_nowhere).errors
    assert "cannot be read" in error.message
    (tmp_path / "bin.toml").write_bytes(b"\xff\xfe")
    (error,) = load(tmp_path / "bin.toml", {}, look_nowhere).errors
    assert "not UTF-8" in error.message


def test_the_inspectors_findings_stand_at_the_storages_path(load_text: Loader) -> None:
    def inspect(storage: StorageConfig, server: ServerConfig) -> StorageFindings:
        assert (storage.path, server.name) == (Path("/srv/video"), "recorderd")
        return StorageFindings(("is foreign",), ("is slow",))

    result = load_text(STORAGE, inspect)
    assert [(error.path, error.message) for error in result.errors] == [("storage[0].path", "is foreign")]
    assert [(warning.path, warning.message) for warning in result.warnings] == [("storage[0].path", "is slow")]


def test_further_servers_are_off_without_their_section(load_text: Loader) -> None:
    found = load_text(STORAGE + GATE)
    assert found.config is not None
    assert (found.config.stream, found.config.rtsp) == (None, None)
    found = load_text("[stream]\n[rtsp]\nlisten = '[::1]:0'\n" + STORAGE + GATE)
    assert found.config is not None
    assert found.config.stream == ListenConfig(("127.0.0.1", 7563))
    assert found.config.rtsp == RtspConfig(("::1", 0))
