package main_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/browsertest"
)

// A page in a real browser: cookies that are set and sent back, a form whose body has any bytes, an encoded path, an image, and a
// response that is read as it arrives.
const page = `<!doctype html><meta charset="utf-8"><title>page</title>
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
	await fetch("/result", {method: "POST", body: JSON.stringify(result)});
})().catch(e => fetch("/result", {method: "POST", body: "failed: " + e}));
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
	for _, f := range localFronts() {
		t.Run(f.name, func(t *testing.T) { // a single browser at a time, because it needs much memory
			o := newWire(t, answers)
			addr := startFront(t, &f, o)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			stop := browsertest.Open(t, "http://"+frontHost+"/", frontHost, addr)
			result := o.await(ctx, "POST /result ")
			printed := stop()
			if _, body, _ := strings.Cut(result, "\r\n\r\n"); body != `{"cookies":"a=1; b=2","posted":"200 ok","image":"image/x-test 0,255,128,10","redirected":"/landed landed","parts":"one two"}` {
				t.Errorf("the page says %q; the browser:\n%s", body, printed)
			}
			post := o.await(ctx, "POST /echo/a%20b?x=1&y=%2B HTTP/1.1\r\n")
			if !strings.HasSuffix(post, "\r\n\r\n\x00\xff\n\r") || !strings.Contains(post, "\r\nCookie: a=1; b=2\r\n") {
				t.Errorf("the origin saw %q", post)
			}
		})
	}
}
