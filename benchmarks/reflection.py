"""What the development side costs an action: `python -m benchmarks.reflection` prints microseconds per call.

The app is as `genkit start` runs it: reflection API in its loop, spans sent at start and end to a telemetry server in
another process, content captured.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import time

SINK = """
import http.server
class Sink(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200); self.send_header("Content-Length", "0"); self.end_headers()
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sink)
print(server.server_port, flush=True)
server.serve_forever()
"""
CALLS, ROUNDS = 50, 40


async def measure() -> float:
    from genkit_rag import Genkit

    async with Genkit() as ai:

        @ai.flow
        async def work(text: str) -> str:
            return text

        times: list[float] = []
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            for _ in range(CALLS):
                await work("a text of a few words")
            times.append((time.perf_counter() - begun) / CALLS * 1e6)
            await asyncio.sleep(0.05)  # a real app waits for its model; the sender catches up
        return statistics.median(times)


def main() -> None:
    for name in [name for name in os.environ if name.startswith("GENKIT")]:
        del os.environ[name]
    plain = asyncio.run(measure())
    sink = subprocess.Popen([sys.executable, "-c", SINK], stdout=subprocess.PIPE, text=True)
    try:
        assert sink.stdout is not None
        port = sink.stdout.readline().strip()
        os.environ |= {
            "GENKIT_ENV": "dev",
            "GENKIT_TELEMETRY_SERVER": f"http://127.0.0.1:{port}",
            "GENKIT_ENABLE_REALTIME_TELEMETRY": "true",
        }
        attached = asyncio.run(measure())
    finally:
        sink.kill()
        sink.wait()
    print(f"an action: {plain:.1f} us, with the tools attached {attached:.1f} us: {attached - plain:.1f} us more")


if __name__ == "__main__":
    main()
