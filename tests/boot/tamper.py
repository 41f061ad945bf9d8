"""A man in the middle: hands HTTP on to a server, and changes one bit of every answer whose path has a certain text.

What is changed is several gzip members in a row. The bit is in the header of the second one, which what is signed or
hashed begins with; so all of it unpacks as before, and only who verifies it notices.

usage: tamper.py ADDRESS PORT UPSTREAM TEXT
"""

import http.server
import sys
import urllib.error
import urllib.request
import zlib

address, port, upstream, text = sys.argv[1:]


class Middle(http.server.BaseHTTPRequestHandler):
    def hand_on(self, body=None):
        request = urllib.request.Request(upstream + self.path, data=body, method=self.command)
        request.add_header("User-Agent", self.headers.get("User-Agent", "none"))
        try:
            answer = urllib.request.urlopen(request)
        except urllib.error.HTTPError as refused:
            answer = refused
        content = bytearray(answer.read())
        if text in self.path and content:
            first = zlib.decompressobj(zlib.MAX_WBITS | 16)
            first.decompress(content)
            operating_system = 9
            content[len(content) - len(first.unused_data) + operating_system] ^= 1
            print("changed", self.path, flush=True)
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self):
        self.hand_on()

    def do_POST(self):
        self.hand_on(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def log_message(self, *words):
        pass


server = http.server.ThreadingHTTPServer((address, int(port)), Middle)
print("listening", flush=True)
server.serve_forever()
