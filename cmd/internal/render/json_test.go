package render

import (
	"strings"
	"testing"

	"physgdb/cmd/internal/query"
	"physgdb/internal/plain"
	"physgdb/test/rig"
)

func TestJSONCanBeSearched(t *testing.T) {
	var said strings.Builder
	rig.Must(t, plain.WriteJSON(&said, map[string]any{"text": "<TASK> a&b", "addr": query.Address(0x1f)}))
	if want := `{"addr":"0x1f","text":"<TASK> a&b"}` + "\n"; said.String() != want {
		t.Errorf("%s, want %s", said.String(), want)
	}
}
