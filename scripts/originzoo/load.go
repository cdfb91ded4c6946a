package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// A count has the results of POSTs. A lost POST is one whose client did not get its own 200. A doubled POST was processed more than
// once. An unseen POST was answered with 200 and never processed.
type count struct {
	posts, lost, doubled, unseen int
	carriedOut                   int      // of the lost
	causes                       []string // of some of the lost
}

// A load says how POSTs are sent.
type load struct {
	url, label string
	workers    int
	idle       time.Duration          // the time after which the server closes idle connections
	lengths    bool                   // whether all bodies have a length; otherwise every third body has no length
	twice      bool                   // sends twice as many, without rests
	transport  func() *http.Transport // for a worker
}

// maxRest is the longest rest of a worker. It applies if a server keeps idle connections for longer.
const maxRest = 5 * time.Second

// load sends z.posts POSTs. Each worker sends its POSTs one after another. It rests four times, until about the moment when the
// server closes idle connections.
func (z *zoo) load(ctx context.Context, l load) count {
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		total count
	)
	n := z.posts
	if l.twice {
		n *= 2
	}
	if l.idle > maxRest {
		l.idle = idle
	}
	rest := max(1, n/l.workers/5)
	for w := range l.workers {
		wg.Go(func() {
			t := l.transport()
			defer t.CloseIdleConnections()
			client := &http.Client{Transport: t, Timeout: time.Minute}
			for i := w; i < n && ctx.Err() == nil; i += l.workers {
				if k := i / l.workers; !l.twice && k > 0 && k%rest == 0 {
					wait(ctx, l.idle+time.Duration(rand.IntN(300)-150)*time.Millisecond)
				}
				id := fmt.Sprint(l.label, "-", i)
				cause := post(ctx, client, l.url, id, !l.lengths && i%3 == 0)
				mu.Lock()
				total.add(cause, z.app.seen(id))
				mu.Unlock()
				wait(ctx, time.Duration(rand.IntN(10))*time.Millisecond)
			}
		})
	}
	wg.Wait()
	// A POST that is processed late counts too.
	total.doubled = 0
	for i := range n {
		if z.app.seen(fmt.Sprint(l.label, "-", i)) > 1 {
			total.doubled++
		}
	}
	return total
}

func (c *count) add(cause string, seen int) {
	c.posts++
	switch {
	case cause != "":
		c.lost++
		if seen > 0 {
			c.carriedOut++
		}
		if cause = first(cause, 150); len(c.causes) < 3 && !slices.Contains(c.causes, cause) {
			c.causes = append(c.causes, cause)
		}
	case seen == 0:
		c.unseen++
	}
}

// post sends one POST. It returns why the POST did not get its own answer, or nil.
func post(ctx context.Context, client *http.Client, url, id string, pieces bool) string {
	var body io.Reader = strings.NewReader(id + " " + strings.Repeat(".", rand.IntN(3000)))
	if pieces {
		body = io.MultiReader(body) // of unknown length
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/post", body)
	if err != nil {
		return err.Error()
	}
	q.Host = name
	a, err := client.Do(q)
	if err != nil {
		return err.Error()
	}
	defer a.Body.Close()
	text, err := io.ReadAll(io.LimitReader(a.Body, 4096))
	switch {
	case err != nil:
		return err.Error()
	case a.StatusCode != http.StatusOK:
		return fmt.Sprint(a.StatusCode, " ", a.Header.Get("Proxy-Status"), " ", first(string(text), 200))
	case string(text) != id:
		return fmt.Sprintf("the answer of another: %q", first(string(text), 80))
	}
	return ""
}

func first(s string, n int) string {
	return s[:min(n, len(s))]
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
