package app_test

import (
	"flag"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/sleightproxy/sleight/internal/app"
	"github.com/sleightproxy/sleight/pkg/origin"
	"github.com/sleightproxy/sleight/pkg/proxy"
	"github.com/sleightproxy/sleight/pkg/sni"
)

var update = flag.Bool("update", false, "write the table of docs/settings.md anew")

const settingsDocument, settingsCommand = "../../docs/settings.md", "go test ./internal/app -run TestSettingsDocument -update"

func from(values map[string]string) (app.Settings, error) {
	return app.FromEnvironment(func(name string) string { return values[name] })
}

func TestEachSettingIsReadAndExplained(t *testing.T) {
	t.Parallel()
	placeholder := regexp.MustCompile("^[^`]*`[A-Za-z]+`[^`]*$")
	for _, s := range app.Table() {
		if s.Help == "" || strings.HasSuffix(s.Help, ".") || s.Flag != "" && s.Kind != app.Bool && !placeholder.MatchString(s.Help) {
			t.Errorf("%s: the help %q has to be a line without a full stop, and to name its value in back quotes", s.Variable, s.Help)
		}
		if (s.Kind == app.Choice) != (s.Values != nil) {
			t.Errorf("%s: Kind %d, Values %q", s.Variable, s.Kind, s.Values)
		}
		without, _ := from(nil)
		with, err := from(map[string]string{s.Variable: s.Example})
		if s.Example == "" || err != nil || reflect.DeepEqual(with, without) {
			t.Errorf("%s: the example %q has no effect, error %v", s.Variable, s.Example, err)
		}
	}
}

// zeroMeans are the settings whose zero stands for the default.
func zeroMeans() map[string]string {
	timeouts := proxy.Timeouts{}.For(&origin.Route{})
	return map[string]string{
		"CONNECT_TIMEOUT":   short(sni.DefaultConnectTimeout),
		"HANDSHAKE_TIMEOUT": short(sni.DefaultHandshakeTimeout),
		"RESPONSE_TIMEOUT":  short(timeouts.Response),
		"IDLE_TIMEOUT":      short(timeouts.Idle),
		"ROUTES_MAX_HOSTS":  strconv.Itoa(origin.DefaultMaxHosts),
		"CDN_LOOP_ID":       "sleight",
	}
}

// short is a duration as people write it.
func short(d time.Duration) string {
	return strings.TrimSuffix(strings.TrimSuffix(d.String(), "0s"), "0m")
}

func TestDocumentedDefaultsAreTheDefaults(t *testing.T) {
	t.Parallel()
	without, err := from(nil)
	if err != nil {
		t.Fatal(err)
	}
	special := zeroMeans()
	for _, s := range app.Table() {
		if want, ok := special[s.Variable]; ok {
			if s.Default != want {
				t.Errorf("%s: the default is %s, and the table says %s", s.Variable, want, s.Default)
			}
			continue
		}
		if s.Default == "" {
			continue
		}
		with, err := from(map[string]string{s.Variable: s.Default})
		if err != nil || !reflect.DeepEqual(with, without) {
			t.Errorf("%s: %s is not the default, error %v", s.Variable, s.Default, err)
		}
	}
}

// A parameter that has another default than the variable would have serve and the function differ.
func TestTemplateHasTheSettingsOfTheTable(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../../template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var template struct {
		Parameters map[string]struct {
			Default       string   `yaml:"Default"`
			AllowedValues []string `yaml:"AllowedValues"`
		} `yaml:"Parameters"`
		Resources map[string]struct {
			Properties struct {
				Environment struct {
					Variables map[string]yaml.Node `yaml:"Variables"`
				} `yaml:"Environment"`
			} `yaml:"Properties"`
		} `yaml:"Resources"`
	}
	if err := yaml.Unmarshal(b, &template); err != nil {
		t.Fatal(err)
	}
	variables := template.Resources["ProxyFunction"].Properties.Environment.Variables
	if len(variables) == 0 {
		t.Fatal("the function has no variables")
	}
	rows := app.Table()
	for name, node := range variables {
		i := slices.IndexFunc(rows, func(s app.Setting) bool { return s.Variable == name })
		if i < 0 {
			t.Errorf("%s is no setting", name)
			continue
		}
		if referred := node.Tag == "!Ref" && template.Parameters[node.Value].Default != ""; referred && rows[i].Parameter != node.Value {
			t.Errorf("%s comes from the parameter %s, and the table says %q", name, node.Value, rows[i].Parameter)
		}
	}
	for _, s := range rows {
		if s.Parameter == "" {
			continue
		}
		parameter, ok := template.Parameters[s.Parameter]
		node := variables[s.Variable]
		switch {
		case !ok || node.Tag != "!Ref" || node.Value != s.Parameter:
			t.Errorf("%s does not come from the parameter %s", s.Variable, s.Parameter)
		case parameter.Default != s.Default:
			t.Errorf("the default of %s is %q, and that of %s %q", s.Parameter, parameter.Default, s.Variable, s.Default)
		case s.Kind == app.Choice && !slices.Equal(parameter.AllowedValues, s.Values):
			t.Errorf("%s allows %q, want %q", s.Parameter, parameter.AllowedValues, s.Values)
		}
	}
}

// The table in the document is the one in the code. Longer explanations are below it.
func TestSettingsDocument(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(settingsDocument)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- settings -->\n", "<!-- /settings -->\n"
	before, rest, ok := strings.Cut(string(b), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no table between %q and %q", settingsDocument, begin, end)
	}
	want := before + begin + settingsTable() + end + after
	if *update {
		if err := os.WriteFile(settingsDocument, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != string(b) {
		t.Errorf("the table of %s is not the one in internal/app/table.go; write it anew with\n\t%s", settingsDocument, settingsCommand)
	}
}

func settingsTable() string {
	var b strings.Builder
	b.WriteString("| variable | flag of `serve` | parameter | default | example | meaning |\n|---|---|---|---|---|---|\n")
	code := func(s, prefix string) string {
		if s == "" {
			return ""
		}
		return "`" + prefix + s + "`"
	}
	for _, s := range app.Table() {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | `%s` | %s |\n", s.Variable, code(s.Flag, "--"), code(s.Parameter, ""), code(s.Default, ""), s.Example,
			strings.ReplaceAll(s.Help, "`", ""))
	}
	return b.String()
}
