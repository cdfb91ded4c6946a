package app_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sleightproxy/sleight/internal/app"
	"github.com/sleightproxy/sleight/pkg/origin"
)

// mute is a store that does not answer.
type mute struct{}

func (mute) Lookup(ctx context.Context, _ string) (*origin.Route, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// Lambda gives the start of a function ten seconds, however many hosts are named.
func TestWarmHostsThatHangHoldTheStartForThreeSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&log, nil))
		s := app.Settings{}
		for i := range 50 {
			s.WarmHosts = append(s.WarmHosts, fmt.Sprintf("h%d.test", i))
		}
		handler, err := app.New(s, logger, mute{})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		app.Warm(t.Context(), s, logger, handler)
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("took %v", took)
		}
		if n := strings.Count(log.String(), "host of WARM_HOSTS"); n != 50 {
			t.Errorf("%d lines for 50 hosts", n)
		}
	})
}
