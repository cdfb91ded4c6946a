package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sleightproxy/sleight/internal/printable"
	"github.com/sleightproxy/sleight/internal/routes"
	"github.com/sleightproxy/sleight/internal/routetable"
	"github.com/sleightproxy/sleight/pkg/origin"
)

func (r *routesCommand) newEdit() *cobra.Command {
	var flags writeFlags
	var force bool
	as := format("yaml")
	c := &cobra.Command{
		Use:   "edit HOST",
		Short: "Edit one route in an editor",
		Long: `Opens the route in an editor: VISUAL, or else EDITOR, or else vi. The saved text is checked. If
it is invalid, the editor opens again on a terminal, with the reason at the top. If the text was
not changed, or was emptied, nothing is changed. The route is checked from here before it is
written, as "routes put" does it, and refused if it cannot work, unless --force is given: the
edited text is then kept, and the message has the command that writes it.

If somebody else has changed the route meanwhile, nothing is written. The message says who has
changed what, keeps the edited text in a file, and has the command that writes it. With
--dry-run, the change is shown, and whether it would be refused for that reason.

An attribute whose type JSON does not have can be removed by "routes put --unset", and cannot be
edited.`,
		Example: `  sleight routes edit one.spec-trust.com --table routes
  EDITOR='code --wait' sleight routes edit one.spec-trust.com --table routes -o json`,
		Args:              usage(cobra.ExactArgs(1)),
		ValidArgsFunction: r.tables.completeHosts(false),
		Annotations:       map[string]string{permissions: "dynamodb:GetItem, dynamodb:PutItem"},
		RunE: func(c *cobra.Command, args []string) error {
			if as == "table" {
				return usageError{errors.New("--output is yaml or json for an editor")}
			}
			table, err := r.tables.open(c.Context())
			if err != nil {
				return err
			}
			item, err := find(c.Context(), table, args[0])
			if err != nil {
				return err
			}
			w := r.newWriter(c, table, flags)
			w.Approve = r.guard(c, force)
			return r.edit(c, w, item, as)
		},
	}
	flags.add(c)
	r.addCheck(c, &force)
	c.Flags().VarP(&as, "output", "o", "`format` to edit in: yaml or json")
	completeValues(c, map[string][]string{"output": {"yaml", "json"}}, nil)
	return c
}

// edit lets a person edit an item until it is valid, and writes it.
func (r *routesCommand) edit(c *cobra.Command, w *writer, before origin.Item, as format) error {
	ctx := c.Context()
	text, err := editText(before, w.Table, as, w.Now())
	if err != nil {
		return err
	}
	s := &session{w: w, before: before, as: as, original: text, getenv: r.tables.getenv}
	if err := s.open(); err != nil {
		return err
	}
	after, err := s.run(ctx)
	if err != nil || after == nil {
		return err
	}
	written, err := w.Change(ctx, before, func(origin.Item) (origin.Item, error) { return after, nil }, false)
	if w.DryRun && err == nil {
		w.report(before, written)
		// A change in an editor takes time, and somebody else may have been faster.
		current, getErr := w.Table.Get(ctx, before.Host())
		if getErr != nil && !errors.Is(getErr, routetable.ErrNotFound) {
			return s.kept(getErr)
		}
		if !before.Equal(current) {
			err = &routetable.ConflictError{Change: routetable.Change{Before: before, After: after}, Current: current}
		}
	}
	if conflict, ok := errors.AsType[*routetable.ConflictError](err); ok {
		w.lost(conflict)
		if w.DryRun {
			fmt.Fprintln(w.err.Out, "Without --dry-run the change would be refused.")
		}
		return fmt.Errorf("%w. The edited text is kept in %s; to replace the current route with it, run \"sleight routes put %s --file %s --replace%s\"", conflict, s.name, quoted(before.Host()), quoted(s.name), whereAgain(c))
	}
	if _, ok := errors.AsType[*unworkableError](err); ok {
		return fmt.Errorf("%w. The edited text is kept in %s: run \"sleight routes put %s --file %s --replace --force%s\"", err, s.name, quoted(before.Host()), quoted(s.name), whereAgain(c))
	}
	if err != nil {
		return s.kept(err)
	}
	s.remove()
	if !w.DryRun {
		w.report(before, written)
	}
	w.unwritten()
	return nil
}

// whereAgain returns the flags for the table or the file, for a command that a person can repeat: the variables may name another table.
func whereAgain(c *cobra.Command) string {
	again, shared := "", c.InheritedFlags()
	c.Flags().Visit(func(f *pflag.Flag) {
		if shared.Lookup(f.Name) != nil {
			again += " --" + f.Name + " " + quoted(f.Value.String())
		}
	})
	return again
}

// quoted returns a word as a shell needs it.
func quoted(word string) string {
	if word != "" && !strings.ContainsFunc(word, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("-_./:@%+=,", c)
	}) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

const signalPatience = 20 * time.Millisecond

const errorMark = "# ERROR: "

// editText returns the text for the editor: remarks, and the item without the attributes that tools write.
func editText(item origin.Item, table routetable.Table, as format, now time.Time) (string, error) {
	b, err := item.WithoutAudit().MarshalJSON()
	if err != nil {
		return "", fmt.Errorf("%w; remove it with \"sleight routes put --unset\"", err)
	}
	var body bytes.Buffer
	if as == "json" {
		err = json.Indent(&body, b, "", "  ")
		body.WriteByte('\n')
	} else {
		body, err = toYAML(b)
	}
	if err != nil {
		return "", err
	}
	header := []string{
		fmt.Sprintf("Route %s in %v, version %s%s.", quoteHost(item.Host()), table, routetable.VersionText(item), lastChange(item)),
		"State: " + stateOf(item, now).text + ".",
		"Save and close to write it. Without a change, or emptied, nothing is written.",
		"Lines at the top that begin with # are left out.",
	}
	var s strings.Builder
	for _, line := range header {
		s.WriteString("# " + printable.Text(line) + "\n")
	}
	return s.String() + body.String(), nil
}

// session is the editing of one item.
type session struct {
	w        *writer
	before   origin.Item
	as       format
	original string
	getenv   func(string) string

	name string // of the file for the editor
}

// open writes the file for the editor.
func (s *session) open() error {
	file, err := os.CreateTemp("", "sleight-route-*."+string(s.as)) // with a mode that lets nobody else read it
	if err != nil {
		return err
	}
	defer file.Close()
	s.name = file.Name()
	if _, err := file.WriteString(s.original); err != nil {
		s.remove()
		return err
	}
	return file.Close()
}

func (s *session) remove() { os.Remove(s.name) }

// kept adds to an error the name of the file with the text.
func (s *session) kept(err error) error {
	return fmt.Errorf("%w; the edited text is kept in %s", err, s.name)
}

// run returns the edited item, or nil if there is nothing to change.
func (s *session) run(ctx context.Context) (origin.Item, error) {
	opened, failed := s.original, error(nil)
	for {
		editErr := s.editor()
		select { // a Ctrl-C that ended the editor also reaches this process, just now
		case <-ctx.Done():
		case <-time.After(signalPatience):
		}
		b, err := os.ReadFile(s.name)
		if err != nil {
			return nil, fmt.Errorf("the edited text is gone: %w", err)
		}
		text := string(b)
		if err := cmp.Or(ctx.Err(), editErr); err != nil {
			err = fmt.Errorf("nothing was written: %w", err)
			if text != s.original {
				return nil, s.kept(err)
			}
			s.remove()
			return nil, err
		}
		switch changed := text != opened; {
		case emptied(text), !changed && failed == nil:
			return s.unchanged()
		case !changed: // after an error, this means that the person gives up
			return nil, s.kept(failed)
		}
		if s.w.out.Interactive() { // the file is opened again, and errors count its lines
			text = errorMark + "\n" + withoutError(text)
		}
		after, err := s.parse(text)
		if err == nil {
			if s.before.SameRoute(after) {
				return s.unchanged()
			}
			return after, nil
		}
		failed = usageError{fmt.Errorf("nothing was written: %w", err)}
		if !s.w.out.Interactive() {
			return nil, s.kept(failed)
		}
		opened = errorMark + printable.Text(err.Error()) + "\n" + withoutError(text)
		if err := os.WriteFile(s.name, []byte(opened), 0o600); err != nil {
			return nil, s.kept(err)
		}
	}
}

// unchanged says that nothing was changed.
func (s *session) unchanged() (origin.Item, error) {
	s.remove()
	s.w.sayf("%s in %v was not changed; nothing was written", quoteHost(s.before.Host()), s.w.Table)
	return nil, nil
}

// parse parses the edited text.
func (s *session) parse(text string) (origin.Item, error) {
	item, err := routes.ParseItem([]byte(withoutRemarks(text)), s.w.Now())
	if err != nil {
		return nil, err
	}
	item = item.WithoutAudit()
	if item.Host() != s.before.Host() {
		return nil, fmt.Errorf("attribute \"host\" is %.300q and was %.300q: it is the key of the route and cannot change; create another route with \"sleight routes put\", and remove this one", item.Host(), s.before.Host())
	}
	if _, err := item.Route(); err != nil {
		return nil, err
	}
	return item, nil
}

// withoutRemarks empties the remarks at the top, since JSON has no comments. The empty lines stay, so that errors count lines as the
// editor does.
func withoutRemarks(text string) string {
	for n := 0; ; n++ {
		line, rest, found := strings.Cut(text, "\n")
		if trimmed := strings.TrimSpace(line); trimmed != "" && !strings.HasPrefix(trimmed, "#") || !found {
			return strings.Repeat("\n", n) + text
		}
		text = rest
	}
}

func withoutError(text string) string {
	for strings.HasPrefix(text, errorMark) {
		_, text, _ = strings.Cut(text, "\n")
	}
	return text
}

func emptied(text string) bool {
	for line := range strings.Lines(text) {
		if trimmed := strings.TrimSpace(line); trimmed != "" && !strings.HasPrefix(trimmed, "#") {
			return false
		}
	}
	return true
}

// editor opens the file in the person's editor, and returns when the editor has ended.
func (s *session) editor() error {
	command := cmp.Or(s.getenv("VISUAL"), s.getenv("EDITOR"))
	if command == "" {
		if !s.w.out.Interactive() {
			return usageError{errors.New("there is no terminal for an editor: set VISUAL or EDITOR to one that needs none, or use \"sleight routes put --file\"")}
		}
		command = "vi"
	}
	// Through a shell, since the variables may have arguments.
	cmd := exec.Command("sh", "-c", command+` "$@"`, command, s.name)
	if runtime.GOOS == "windows" {
		words := append(strings.Fields(command), s.name)
		cmd = exec.Command(words[0], words[1:]...)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.w.out.In, s.w.out.Out, s.w.out.Err
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("editor %q: %w", command, err)
	}
	return nil
}
