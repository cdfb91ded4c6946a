package main_test

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/testdeps"
)

// A page as browsers use them: cookies that are set and sent back, a form's body in
// bytes, an encoded path, an image, and an answer that is read while it comes.
const page = `<!doctype html><meta charset="utf-8"><title>page</title><p id="result">nothing yet</p>
<script>
(async () => {
	const result = {cookies: document.cookie};
	const posted = await fetch("/echo/a%20b?x=1&y=%2B", {method: "POST", body: new Uint8Array([0, 255, 10, 13])});
	result.posted = posted.status + " " + await posted.text();
	const image = await fetch("/image");
	result.image = image.headers.get("content-type") + " " + new Uint8Array(await image.arrayBuffer()).join(",");
	const redirected = await fetch("/redirect");
	result.redirected = redirected.url.replace(location.origin, "") + " " + await redirected.text();
	let parts = "";
	for await (const part of (await fetch("/parts")).body.pipeThrough(new TextDecoderStream())) parts += part;
	result.parts = parts;
	document.getElementById("result").textContent = JSON.stringify(result);
})().catch(e => document.getElementById("result").textContent = "failed: " + e);
</script>`

func TestBrowserSeesTheOriginThroughEveryFront(t *testing.T) {
	t.Parallel()
	answers := map[string]string{
		"/":         fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nSet-Cookie: a=1; Path=/\r\nSet-Cookie: b=2; Path=/; Expires=Wed, 21 Oct 2099 07:28:00 GMT\r\nContent-Length: %d\r\n\r\n%s", len(page), page),
		"/image":    "HTTP/1.1 200 OK\r\nContent-Type: image/x-test\r\nContent-Length: 4\r\n\r\n\x00\xff\x80\x0a",
		"/redirect": "HTTP/1.1 302 Found\r\nLocation: /landed\r\nContent-Length: 0\r\n\r\n",
		"/landed":   "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nlanded",
		"/parts":    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none \r\n3\r\ntwo\r\n0\r\n\r\n",
	}
	browser := testdeps.Path(t, "chromium")
	result := regexp.MustCompile(`<p id="result">(.*?)</p>`)
	for _, f := range localFronts() {
		t.Run(f.name, func(t *testing.T) { // one browser at a time: it takes memory
			o := newWire(t, answers)
			addr := startFront(t, &f, o)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run",
				"--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-proxy-server", "--user-data-dir="+t.TempDir(),
				"--host-resolver-rules=MAP "+frontHost+" "+addr+", MAP * ~NOTFOUND", "--virtual-time-budget=20000", "--dump-dom", "http://"+frontHost+"/")
			var stderr strings.Builder
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v: %s%s", err, out, &stderr)
			}
			m := result.FindStringSubmatch(string(out))
			if m == nil {
				t.Fatalf("no result in %s%s", out, &stderr)
			}
			want := `{"cookies":"a=1; b=2","posted":"200 ok","image":"image/x-test 0,255,128,10","redirected":"/landed landed","parts":"one two"}`
			if m[1] != want {
				t.Errorf("got  %s\nwant %s", m[1], want)
			}
			path := "/echo/a%20b"
			query := "x=1&y=%2B"
			seen := false
			o.mu.Lock()
			for _, request := range o.seen {
				if strings.HasPrefix(request, "POST "+path+"?"+query+" HTTP/1.1\r\n") && strings.HasSuffix(request, "\r\n\r\n\x00\xff\n\r") && strings.Contains(request, "\r\nCookie: a=1; b=2\r\n") {
					seen = true
				}
			}
			o.mu.Unlock()
			if !seen {
				t.Errorf("the origin did not see the POST as the browser sent it: %q", o.seen)
			}
		})
	}
}
