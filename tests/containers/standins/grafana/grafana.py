"""Answers /api/health once all files that Grafana would be provisioned with can be read."""

import http.server
import json
from pathlib import Path

for name in ("provisioning/datasources", "provisioning/dashboards"):
    assert any(Path("/etc/grafana", name).glob("*.y*ml")), f"no {name}"
json.loads(Path("/var/lib/vitrine/dashboards/vitrine.json").read_text())


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/api/health" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()


http.server.HTTPServer(("", 3000), Handler).serve_forever()
