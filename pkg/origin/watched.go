package origin

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// WatchedFile is a Store that holds the routes of a file as [File] does. It replaces them as a whole if it is told to
// ([WatchedFile.Reload]) or if the file changes ([WatchedFile.Watch]). A request that has found its route keeps it. While
// the file cannot be used, the earlier routes stay in force. [OpenFile] makes a WatchedFile. The zero WatchedFile has no
// routes, and each lookup in it is an error. A WatchedFile is safe for concurrent use.
type WatchedFile struct {
	// Interval is the time between two looks of Watch at the file. Zero or less means a second. It must not
	// change while Watch runs.
	Interval time.Duration

	name   string
	logger *slog.Logger
	routes atomic.Pointer[File]

	mu   sync.Mutex // for one reading at a time
	last reading
}

var _ Store = (*WatchedFile)(nil)

// reading is the result of reading the file once.
type reading struct {
	at   time.Time
	info fs.FileInfo // of the content; nil means that reading failed and must be repeated
	sum  [sha256.Size]byte
	err  error // why the routes cannot be used
}

// settleTime is the least age of a modification time that proves, if unchanged, that the file was not changed again. The
// clocks of file systems have ticks, some of a whole second.
const settleTime = 2 * time.Second

// OpenFile reads the routes file of that name. It logs which routes cannot be used to logger, now and at each later
// reading. A nil logger is slog.Default(). OpenFile starts nothing in the background.
func OpenFile(name string, logger *slog.Logger) (*WatchedFile, error) {
	file, r := readFile(name)
	if r.err != nil {
		return nil, r.err
	}
	w := &WatchedFile{name: name, logger: logger, last: r}
	w.replace(file)
	return w, nil
}

// Lookup implements [Store]. It never waits.
func (w *WatchedFile) Lookup(ctx context.Context, host string) (*Route, error) {
	file := w.routes.Load()
	if file == nil {
		return nil, errNotOpened
	}
	return file.Lookup(ctx, host)
}

var errNotOpened = errors.New("origin: WatchedFile was not made by OpenFile")

func (w *WatchedFile) log() *slog.Logger {
	if w.logger != nil {
		return w.logger
	}
	return slog.Default()
}

// Reload reads the file now, and logs the result.
func (w *WatchedFile) Reload() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.read(true)
}

// Watch looks at the file until ctx ends, and reads it if it has changed. It returns at once if the file is not a
// regular file, for instance a pipe.
//
// Watch polls. The kernel's notifications do not cover changes that another machine makes on a network file system, or that
// are made on the other side of a bind mount. They also watch the file that a name led to, while Kubernetes replaces a
// symbolic link in the path.
func (w *WatchedFile) Watch(ctx context.Context) {
	if info, err := os.Stat(w.name); err == nil && !info.Mode().IsRegular() {
		return
	}
	interval := w.Interval
	if interval <= 0 {
		interval = time.Second
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			w.look()
		}
	}
}

// look reads the file if it may have changed. An unchanged fault is not logged again.
func (w *WatchedFile) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if info, err := os.Stat(w.name); err != nil || !w.last.holds(info) {
		w.read(false)
	}
}

// holds reports whether info is certainly that of the content that was read.
func (r *reading) holds(info fs.FileInfo) bool {
	return r.info != nil && os.SameFile(r.info, info) && r.info.Size() == info.Size() &&
		r.info.ModTime().Equal(info.ModTime()) && r.at.Sub(info.ModTime()).Abs() > settleTime
}

// read reads the file, and logs the result if it differs from the last one or always is set.
func (w *WatchedFile) read(always bool) {
	var file *File
	var r reading
	if info, err := os.Stat(w.name); err == nil && !info.Mode().IsRegular() {
		r.err = errIrregular // opening a pipe may block forever
	} else {
		file, r = readFile(w.name)
	}
	same := r.sum == w.last.sum && fmt.Sprint(r.err) == fmt.Sprint(w.last.err)
	w.last = r
	if same && !always {
		return
	}
	if r.err != nil {
		w.log().Error("routes file cannot be used and the routes read before stay in force: "+Remedy(r.err)+", it is then read again",
			slog.String("file", w.name), slog.Any("error", r.err))
		return
	}
	added, changed, removed := file.compare(w.routes.Load())
	w.replace(file)
	w.log().Info("routes read again", slog.String("file", w.name), slog.Int("routes", file.Len()),
		slog.Int("added", added), slog.Int("changed", changed), slog.Int("removed", removed))
}

var errIrregular = errors.New("it is not a regular file, and cannot be read twice")

// Remedy says what to do about an error of [OpenFile], for people. The cause may be the file or its environment.
func Remedy(err error) string {
	_, unreadable := errors.AsType[*fs.PathError](err)
	switch {
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return "allow the process more file descriptors (ulimit -n, LimitNOFILE), or lower --max-connections and --max-requests"
	case errors.Is(err, fs.ErrNotExist):
		return "put the file there"
	case errors.Is(err, fs.ErrPermission):
		return "let the user of the process read the file"
	case errors.Is(err, errIrregular), errors.Is(err, syscall.EISDIR):
		return "put a regular file there"
	case unreadable:
		return "check the disk or the network file system that the file is on"
	}
	return "correct the file"
}

// replace puts the routes of file into force.
func (w *WatchedFile) replace(file *File) {
	for _, invalid := range file.Invalid() {
		w.log().Error("route cannot be used, its host answers 500", slog.String("route", invalid.Host),
			slog.String("attribute", invalid.Attribute), slog.String("reason", invalid.Reason))
	}
	w.routes.Store(file)
}

// readFile reads a routes file. Its error is in the reading.
func readFile(name string) (*File, reading) {
	r := reading{at: time.Now()}
	f, err := os.Open(name)
	if err != nil {
		r.err = fmt.Errorf("origin: routes file: %w", err)
		return nil, r
	}
	defer f.Close()
	// Before the content is read: a later write changes this again.
	if r.info, err = f.Stat(); err != nil {
		r.err = fmt.Errorf("origin: routes file: %w", err)
		return nil, r
	}
	sum := sha256.New()
	file, err := ReadRoutes(io.TeeReader(f, sum))
	if err != nil {
		r.err = fmt.Errorf("origin: routes file %q: %w", name, err)
		if _, ok := errors.AsType[*fs.PathError](err); ok {
			r.info = nil
		}
	}
	sum.Sum(r.sum[:0])
	return file, r
}
