"""Media paths are files: no address is contacted, no list followed, no pipe or device opened."""

import os
import shutil
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest

from emotion.inputs.video import MediaError, probe, read_waveform
from emotion.sample.corpus import write_mp4
from tests.media import noise, tone, write_clip
from tests.warm import run_script

VOICE = tone(1.0, 300) + noise(1.0)


@pytest.fixture
def asked():
    """What a server of this machine is asked for; its address comes first."""
    paths = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            paths.append(self.path)
            self.send_error(404)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_port}", paths
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The test works in a folder of its own, with relative paths as a user types them."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("address", ["http://{}/x.wav", "http:{}/x.wav", "tcp://{}", "rtsp://{}/x"])
def test_an_address_is_a_file_that_is_not_there(here, asked, address):
    with pytest.raises(MediaError, match="No such file"):
        probe(Path(address.format(asked[0])))
    assert asked[1] == []


@pytest.mark.parametrize("name", ["http:", "12:30.wav", "file:x.wav", "-i.wav", "concat:a|b.wav"])
def test_a_file_is_read_whatever_it_is_called(here, name):
    path = write_clip(here / "x.wav", None, VOICE)
    path = path.rename(here / name) if name.endswith("wav") else here / name
    if name == "http:":
        path.mkdir()
        write_clip(path / "x.wav", None, VOICE)
        path = path / "x.wav"
    assert read_waveform(path.relative_to(here)).size > 15_000


def test_a_table_with_an_address_contacts_nobody(here, asked):
    write_clip(here / "good.wav", None, VOICE)
    url = f"http://{asked[0]}/x.wav"
    (here / "table.csv").write_text(f"id,path,label\n1,good.wav,good\n2,{url},good\n")
    command = ["preprocess.py", "--corpus", "table", "--data_dir", ".", "--features_dir"]
    command += ["features", "--vggface_weights", "none", "--num_workers", "1"]
    done = run_script(*command, cwd=here)
    assert asked[1] == []
    assert "2 clips, 2 extracted now, 1 failed" in done.stdout
    assert "No such file" in (here / "features" / "all" / "failures.csv").read_text()


LISTS = {
    "list.wav": "ffconcat version 1.0\nfile 'secret.wav'\n",
    "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\nsecret.wav\n#EXT-X-ENDLIST\n",
    "list.mp4": "ffconcat version 1.0\nfile secret.wav\n",
    "list.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_is_not_followed_to_other_files(here, name):
    write_clip(here / "secret.wav", None, VOICE)
    (here / name).write_text(LISTS[name])
    with pytest.raises(MediaError, match="not readable as media"):
        probe(Path(name))


def test_a_pattern_of_pictures_is_no_film(here):
    import cv2

    for number in range(3):
        cv2.imwrite(str(here / f"{number}.png"), np.zeros((16, 16, 3), np.uint8))
    shutil.copy(here / "0.png", here / "%d.png")
    with pytest.raises(MediaError, match="not readable as media"):
        probe(here / "%d.png")


def test_what_is_no_file_is_not_opened(here):
    os.mkfifo(here / "pipe.wav")
    (here / "folder.wav").mkdir()
    with socket.socket(socket.AF_UNIX) as served:
        served.bind("socket.wav")
        for name, kind in [
            ("pipe.wav", "a named pipe"),
            ("folder.wav", "a folder"),
            ("socket.wav", "a socket"),
            ("/dev/zero", "a device"),
        ]:
            with pytest.raises(MediaError, match=f"not readable as media: {kind}, not a file"):
                probe(Path(name))


def test_generated_clips_lie_where_they_were_asked_for(here):
    folder = Path("http:")
    folder.mkdir()
    write_mp4(folder / "x.mp4", np.zeros((30, 64, 64, 3), np.uint8), VOICE)
    assert probe(folder / "x.mp4").has_audio
