"""A real browser fetches the mp3 and plays it."""

from __future__ import annotations

import json
import queue
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.e2e.servers import Server

pytestmark = [pytest.mark.xdist_group("espeak_server"), pytest.mark.timeout(600)]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

PAGE = """<!doctype html><script>
const report = (body) => fetch("/report", {method: "POST", body: JSON.stringify(body)});
(async () => {
  const answer = await fetch("%s/v1/audio/speech", {
    method: "POST", headers: {"Content-Type": "application/json"},
    body: JSON.stringify({model: "tts-1", voice: "alloy", input: "A browser plays this sentence."})});
  const audio = new Audio(URL.createObjectURL(await answer.blob()));
  audio.onerror = () => report({error: audio.error.message});
  audio.onended = () => report({played: audio.currentTime, duration: audio.duration});
  await audio.play();
})().catch((error) => report({error: String(error)}));
</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (Debian: apt install chromium)")
def test_a_browser_plays_the_mp3_to_its_end(espeak_server: Server, tmp_path: Path) -> None:
    reports: queue.Queue[dict[str, object]] = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write((PAGE % espeak_server.url).encode())

        def do_POST(self) -> None:
            reports.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        command = [
            str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--autoplay-policy=no-user-gesture-required",
            "--disable-web-security",  # the page comes from another port than the API
            f"--user-data-dir={tmp_path}", f"http://127.0.0.1:{site.server_port}/",
        ]  # fmt: skip
        browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            report = reports.get(timeout=180)
        finally:
            browser.kill()
            browser.wait()
            site.shutdown()
    assert report.get("error") is None, report
    duration, played = report["duration"], report["played"]
    assert isinstance(duration, float)
    assert 1.0 < duration < 4.0
    assert played == pytest.approx(duration, abs=0.3)
