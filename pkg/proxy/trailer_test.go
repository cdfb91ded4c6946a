package proxy

import (
	"context"
	"io"
	"maps"
	"net/http"
	"slices"
	"testing"

	"github.com/sleightproxy/sleight/pkg/origin"
)

// A transport may put the trailers into the map of the announced names, or into another map.
func TestTrailersAreFoundWhereverTheTransportPutsThem(t *testing.T) {
	t.Parallel()
	came := http.Header{"X-Sum": {"1"}, "X-More": {"2"}, "Set-Cookie": {"a=b"}, "Upgrade": {"h2c"}}
	for name, fill := range map[string]func(r *http.Response, announced http.Header){
		"the same map":       func(_ *http.Response, announced http.Header) { maps.Copy(announced, came) },
		"the response's map": func(r *http.Response, _ http.Header) { maps.Copy(r.Trailer, came) },
		"another map":        func(r *http.Response, _ http.Header) { r.Trailer = came.Clone() },
		"both": func(r *http.Response, announced http.Header) {
			announced["X-Sum"], announced["Upgrade"] = came["X-Sum"], came["Upgrade"]
			r.Trailer["X-More"], r.Trailer["Set-Cookie"] = came["X-More"], came["Set-Cookie"]
		},
	} {
		x := &exchange{Record: Record{Route: &origin.Route{}}, watch: &watch{}}
		ctx := context.WithValue(t.Context(), exchangeKey{}, x)
		announced := http.Header{"X-Sum": nil, "Upgrade": nil}
		r := &http.Response{StatusCode: 200, Header: http.Header{}, Trailer: announced, Request: (&http.Request{}).WithContext(ctx)}
		r.Body = io.NopCloser(eofFunc(func() { fill(r, announced) }))
		for _, hook := range []ResponseHook{cleanFields, watchBody} {
			if err := hook(r); err != nil {
				t.Fatal(err)
			}
		}
		announce(r)
		if got := r.Header["Trailer"]; !slices.Equal(got, []string{"X-Sum"}) {
			t.Errorf("%s: announced %q", name, got)
		}
		if _, err := io.ReadAll(r.Body); err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if want := (http.Header{"X-Sum": {"1"}, "X-More": {"2"}}); !maps.EqualFunc(r.Trailer, want, slices.Equal) {
			t.Errorf("%s: %q, want %q", name, r.Trailer, want)
		}
	}
}

// eofFunc is an empty body that calls the function when it is read.
type eofFunc func()

func (f eofFunc) Read([]byte) (int, error) { f(); return 0, io.EOF }
