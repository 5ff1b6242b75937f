package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"physgdb/cmd/internal/command"
	"physgdb/cmd/internal/machine"
	"physgdb/test/rig"
)

const (
	jsonPath = "../../../docs/json.md"
	queryDir = "../query"
)

func TestJSONIsCurrent(t *testing.T) {
	var want bytes.Buffer
	rig.Must(t, writeJSON(&want, queryDir))
	got, err := os.ReadFile(jsonPath)
	rig.Must(t, err)
	if diff := cmp.Diff(want.String(), string(got)); diff != "" {
		t.Errorf("docs/json.md is out of date: go generate ./cmd/internal/query (-want +got):\n%s", diff)
	}
}

func TestEveryFieldHasAType(t *testing.T) {
	docs := readDocument(t)
	for _, c := range command.All() {
		if c.HasQuery() && c.Name != "completion" && len(c.Prints) == 0 {
			t.Errorf("%s prints no JSON", c.Name)
		}
		for _, value := range c.Prints {
			filled := reflect.New(reflect.TypeOf(value)).Elem()
			fill(filled)
			text, err := json.Marshal(filled.Interface())
			rig.Must(t, err)
			docs.check(t, c.Name, reflect.TypeOf(value).Name(), text)
		}
	}
}

// fill sets every field of a value to something other than zero, so that none is left out in JSON.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		value := reflect.New(v.Type().Elem()).Elem()
		fill(value)
		v.SetMapIndex(reflect.ValueOf("key"), value)
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && f.Tag.Get("json") != "-" {
				fill(v.Field(i))
			}
		}
	case reflect.String:
		v.SetString("text")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(1)
	case reflect.Uint64, reflect.Uint16, reflect.Uint8:
		v.SetUint(1)
	}
}

// TestCommandsPrintWhatIsDocumented runs the commands that a synthetic machine can answer. Those
// that need a real kernel are run in test/e2e.
func TestCommandsPrintWhatIsDocumented(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	r := rig.New(t, 4)
	m, err := machine.Attach(t.Context(), &machine.Options{
		Source: r.Path("ram"), Vmlinux: r.Path("vmlinux"), Notify: r.Notices(t, rig.Hello, rig.Panicked),
	})
	rig.Must(t, err)
	defer m.Close()
	docs := readDocument(t)
	for line, object := range map[string]string{
		"info": "Info", "info --report": "Report", "report": "Report", "stats": "Stats", "cr3": "Root", "cr3 clock": "Root",
		"find _text, +0x2000000, \"Linux\"": "Hit", "maps --all": "Mapping", "vtop panic 0x401000": "Walk", "read linux_banner 40": "Bytes",
		"read linux_banner 40 -o " + filepath.Join(t.TempDir(), "bytes"): "SavedMemory", "cache --clear": "Cleared", "version": "Version",
	} {
		words := append(strings.Fields(line), "--json")
		c := command.Find(words[0], command.Shell|command.Monitor)
		q, err := c.Parse(words[1:])
		rig.Must(t, err)
		var out, notes bytes.Buffer
		err = q.Run(t.Context(), command.NewEnv(m, &out, &notes))
		if err != nil && !strings.Contains(err.Error(), "not known") && !strings.Contains(err.Error(), "not translated") {
			t.Errorf("%s: %v", line, err)
		}
		if out.Len() == 0 {
			t.Errorf("%s prints nothing", line)
		}
		for lines := bufio.NewScanner(&out); lines.Scan(); {
			docs.check(t, line, object, lines.Bytes())
		}
	}
}

// documented is the fields of each object in docs/json.md, and their types.
type documented map[string]map[string]string

func readDocument(t *testing.T) documented {
	t.Helper()
	text, err := os.ReadFile(jsonPath)
	rig.Must(t, err)
	heading := regexp.MustCompile(`^##+ (?:.*: )?(\w+)$`)
	row := regexp.MustCompile("^\\| `(\\w+)` \\| ([^|]*) \\|")
	docs := documented{}
	object := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if match := heading.FindStringSubmatch(line); match != nil {
			if object = match[1]; docs[object] == nil {
				docs[object] = map[string]string{}
			}
		} else if match := row.FindStringSubmatch(line); match != nil {
			docs[object][match[1]] = match[2]
		}
	}
	return docs
}

// check checks that every field of an object, and of those in it, is documented, and that those
// that are not optional are there.
func (d documented) check(t *testing.T, what, object string, text []byte) {
	t.Helper()
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		t.Errorf("%s: %s is no %s: %v", what, text, object, err)
		return
	}
	for name, value := range fields {
		kind, known := d[object][name]
		if !known {
			t.Errorf("%s: the field %s of %s is not in docs/json.md", what, name, object)
		}
		d.checkValue(t, what+"."+name, strings.TrimSuffix(kind, ", optional"), value)
	}
	for name, kind := range d[object] {
		if _, present := fields[name]; !present && !strings.HasSuffix(kind, ", optional") {
			t.Errorf("%s: %s has no %s", what, object, name)
		}
	}
}

// checkValue checks a value of a documented type.
func (d documented) checkValue(t *testing.T, what, kind string, value json.RawMessage) {
	t.Helper()
	if string(value) == "null" {
		return
	}
	switch word, rest, _ := strings.Cut(kind, " "); {
	case word == "array":
		var list []json.RawMessage
		rig.Must(t, json.Unmarshal(value, &list))
		for _, element := range list {
			d.checkValue(t, what, strings.TrimPrefix(rest, "of "), element)
		}
	case word == "object" && strings.HasPrefix(rest, "of "):
		var values map[string]json.RawMessage
		rig.Must(t, json.Unmarshal(value, &values))
		for _, element := range values {
			d.checkValue(t, what, strings.TrimPrefix(rest, "of "), element)
		}
	case word == "object":
		d.check(t, what, rest, value)
	default:
		want := map[string]string{"number": "-0123456789", "boolean": "tf", "string": `"`, "hexadecimal": `"`, "time": `"`}[word]
		if !strings.ContainsRune(want, rune(value[0])) {
			t.Errorf("%s: %s is no %s", what, value, kind)
		}
	}
}
