package terminal

import (
	"fmt"
	"time"

	"github.com/jedib0t/go-pretty/v6/progress"
)

// Progress is a bar on the terminal while something long is under way, and nothing where nobody looks. It
// is safe for concurrent use. Between its beginning and Done, nothing else may be written to Err.
type Progress struct {
	tracker *progress.Tracker // nil where there is no bar
	writer  progress.Writer
	ended   chan struct{}
}

// Progress begins a bar. A total of 0 is one that is not known.
func (t *Terminal) Progress(what string, total int64) *Progress {
	if !t.draws {
		return &Progress{}
	}
	w := progress.NewWriter()
	w.SetOutputWriter(t.Err)
	w.SetAutoStop(false)
	w.SetTrackerLength(25)
	w.SetUpdateFrequency(100 * time.Millisecond)
	w.Style().Options.TimeInProgressPrecision = 100 * time.Millisecond
	w.Style().Visibility.ETA = true
	w.Style().Visibility.Speed = true
	w.Style().Visibility.Value = true
	p := &Progress{tracker: &progress.Tracker{Message: Safe(what), Total: total, Units: progress.UnitsDefault}, writer: w, ended: make(chan struct{})}
	w.AppendTracker(p.tracker)
	go func() {
		defer close(p.ended)
		w.Render()
	}()
	return p
}

// Add counts n more as done.
func (p *Progress) Add(n int64) {
	if p.tracker != nil {
		p.tracker.Increment(n)
	}
}

// Done ends the bar, as it stands. It returns when the bar is written out, and may be called twice.
func (p *Progress) Done() {
	if p.tracker == nil {
		return
	}
	if !p.tracker.IsDone() && p.tracker.Total > p.tracker.Value() {
		p.tracker.MarkAsErrored()
	} else {
		p.tracker.MarkAsDone()
	}
	for {
		p.writer.Stop() // which does nothing before the drawing has begun
		select {
		case <-p.ended:
			return
		case <-time.After(time.Millisecond):
		}
	}
}

// Sayf writes a line above the bar, or just a line where there is no bar.
func (t *Terminal) Sayf(p *Progress, format string, args ...any) {
	if p != nil && p.tracker != nil {
		p.writer.Log(format, args...)
		return
	}
	fmt.Fprintf(t.Err, format+"\n", args...)
}
