package terminal

import (
	"fmt"
	"time"

	"github.com/jedib0t/go-pretty/v6/progress"

	"github.com/sleightproxy/sleight/internal/printable"
)

// Progress is a bar on the terminal during long work. If standard error is not a terminal, it draws nothing. It is safe for
// concurrent use. Until Done, nothing else may be written to Err.
type Progress struct {
	tracker *progress.Tracker // nil if no bar is drawn
	writer  progress.Writer
	ended   chan struct{}
}

// Progress begins a bar. A total of 0 means that it is not known.
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
	p := &Progress{tracker: &progress.Tracker{Message: printable.Text(what), Total: total, Units: progress.UnitsDefault}, writer: w, ended: make(chan struct{})}
	w.AppendTracker(p.tracker)
	go func() {
		defer close(p.ended)
		w.Render()
	}()
	return p
}

// Drawn reports whether the bar is drawn.
func (p *Progress) Drawn() bool { return p.tracker != nil }

// Add counts n more as done.
func (p *Progress) Add(n int64) {
	if p.tracker != nil {
		p.tracker.Increment(n)
	}
}

// Done ends the bar with its present value. It returns when the bar is written out, and may be called twice.
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
		p.writer.Stop() // does nothing before the drawing has begun
		select {
		case <-p.ended:
			return
		case <-time.After(time.Millisecond):
		}
	}
}

// Sayf writes a line above the bar, or just a line if no bar is drawn.
func (t *Terminal) Sayf(p *Progress, format string, args ...any) {
	if p != nil && p.tracker != nil {
		p.writer.Log(format, args...)
		return
	}
	fmt.Fprintf(t.Err, format+"\n", args...)
}
