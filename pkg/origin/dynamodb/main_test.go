package dynamodb

import (
	"errors"
	"log/slog"
	"testing"

	"go.uber.org/goleak"

	"github.com/sleightproxy/sleight/pkg/origin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errDown = errors.New("store is down")

func newCache(s origin.Store) *origin.Cache {
	return &origin.Cache{Store: s, Logger: slog.New(slog.DiscardHandler)}
}

// isAnswer reports whether a lookup with this error is certain.
func isAnswer(err error) bool {
	_, invalid := errors.AsType[*origin.InvalidRouteError](err)
	return err == nil || invalid || errors.Is(err, origin.ErrNotFound)
}
