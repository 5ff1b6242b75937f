package debuginfo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"physgdb/symbols/internal/symtest"
)

// debuginfod is a server that answers every question in one way, and counts them.
func debuginfod(t *testing.T, asked *atomic.Int32, answer http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.Method != http.MethodGet || r.URL.Path != "/buildid/"+testBuildID+"/debuginfo" {
			t.Errorf("asked %s %s", r.Method, r.URL)
		}
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func sends(file string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, file) }
}

func says(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "said so", status) }
}

// hangs sends so many bytes of a larger file, and then nothing more until the client is gone.
func hangs(after int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if after > 0 {
			w.Header().Set("Content-Length", "1000000000")
			_, _ = w.Write(make([]byte, after))
			w.(http.Flusher).Flush()
		}
		<-r.Context().Done()
	}
}

// onlyServers has no file on this machine but a cache.
func onlyServers(t *testing.T, servers ...string) *Places {
	t.Helper()
	return &Places{Servers: servers, Cache: filepath.Join(t.TempDir(), "cache"), root: t.TempDir()}
}

func (d *Places) cached() string { return filepath.Join(d.Cache, testBuildID, "debuginfo") }

// large is a program with debug information of more than one step of a download.
func large(t *testing.T) string {
	t.Helper()
	return symtest.Compile(t, fmt.Sprintf("char many[%d] = {1}; int main(void) { return 0; }", 3*downloadStep),
		"-g", "-Wl,--build-id=0x"+testBuildID)
}

func TestServersFileIsKept(t *testing.T) {
	full := large(t)
	info, err := os.Stat(full)
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int32
	d := onlyServers(t, debuginfod(t, &asked, sends(full))+"/")
	var seen [][2]int64
	d.Progress = func(done, total int64) { seen = append(seen, [2]int64{done, total}) }
	for range 2 { // the second comes out of the cache
		if got, err := d.Vmlinux(t.Context(), wantedID(t), testRelease); got != d.cached() || err != nil {
			t.Fatalf("got %q, %v, want %q", got, err, d.cached())
		}
	}
	if asked.Load() != 1 {
		t.Errorf("asked %d times", asked.Load())
	}
	var want [][2]int64
	for done := int64(downloadStep); done < info.Size(); done += downloadStep {
		want = append(want, [2]int64{done, info.Size()})
	}
	if diff := cmp.Diff(append(want, [2]int64{info.Size(), info.Size()}), seen); diff != "" {
		t.Error(diff)
	}
	// As libdebuginfod 0.188 leaves it.
	checkMode(t, d.cached(), 0o400)
	checkMode(t, filepath.Dir(d.cached()), os.ModeDir|0o700)
	if left, _ := filepath.Glob(d.cached() + "?*"); len(left) != 0 {
		t.Errorf("leftover files %q", left)
	}
}

func checkMode(t *testing.T, path string, want os.FileMode) {
	t.Helper()
	if info, err := os.Stat(path); err != nil || info.Mode() != want {
		t.Errorf("%s: got %v, %v, want mode %v", path, info.Mode(), err, want)
	}
}

func TestFileOfThisMachineSparesTheServers(t *testing.T) {
	full := vmlinuxLike(t, testBuildID)
	var asked atomic.Int32
	d := onlyServers(t, debuginfod(t, &asked, sends(full)))
	want := install(t, full, d.root, "usr/lib/debug/vmlinux")
	if got, err := d.Vmlinux(t.Context(), wantedID(t), testRelease); got != want || err != nil || asked.Load() != 0 {
		t.Errorf("got %q, %v, asked %d", got, err, asked.Load())
	}
}

// TestCacheIsLookedAtWithoutServers has a file that gdb got, say, when there were some.
func TestCacheIsLookedAtWithoutServers(t *testing.T) {
	d := onlyServers(t)
	install(t, vmlinuxLike(t, testBuildID), d.cached())
	if got, err := d.Vmlinux(t.Context(), wantedID(t), testRelease); got != d.cached() || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestServersAreAskedInOrder(t *testing.T) {
	full := vmlinuxLike(t, testBuildID)
	var first, second, third atomic.Int32
	d := onlyServers(t, debuginfod(t, &first, says(404)), debuginfod(t, &second, sends(full)),
		debuginfod(t, &third, sends(full)))
	got, err := d.Vmlinux(t.Context(), wantedID(t), testRelease)
	if got != d.cached() || err != nil || first.Load() != 1 || second.Load() != 1 || third.Load() != 0 {
		t.Errorf("got %q, %v, asked %d %d %d", got, err, first.Load(), second.Load(), third.Load())
	}
}

// TestSizeInSeparateHeader has a server that compresses on the way.
func TestSizeInSeparateHeader(t *testing.T) {
	full := vmlinuxLike(t, testBuildID)
	for _, tc := range []struct {
		header string
		want   int64
	}{{"123456", 123456}, {"", -1}, {"many", -1}, {"-5", -1}} {
		var asked atomic.Int32
		d := onlyServers(t, debuginfod(t, &asked, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-DEBUGINFOD-SIZE", tc.header)
			w.(http.Flusher).Flush() // no Content-Length then
			content, _ := os.ReadFile(full)
			_, _ = w.Write(content)
		}))
		total := int64(-2)
		d.Progress = func(_, of int64) { total = of }
		got, err := d.Vmlinux(t.Context(), wantedID(t), testRelease)
		if got != d.cached() || err != nil || total != tc.want {
			t.Errorf("header %q: got %q, %v, total %d", tc.header, got, err, total)
		}
	}
}

// TestServerThatWillNotDoIsNamed has one server each. None may leave a file, or delay the caller.
func TestServerThatWillNotDoIsNamed(t *testing.T) {
	full := vmlinuxLike(t, testBuildID)
	other := vmlinuxLike(t, "dead"+testBuildID[4:])
	content, err := os.ReadFile(full)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		answer http.HandlerFunc
		want   string
	}{
		{"knows nothing", says(404), "URL: does not have it"},
		{"is broken", says(500), "URL: answers 500 Internal Server Error"},
		{"sends nothing", hangs(0), "URL: sent less than 100 kB in 200ms; DEBUGINFOD_TIMEOUT=90 sets the limit to 90 s"},
		{"stops early", hangs(50_000), "URL: after 50000 bytes: sent less than 100 kB in 200ms; DEBUGINFOD_TIMEOUT=90 "},
		{"stops later", hangs(250_000), "URL: after 250000 bytes: sent less than 100 kB in 200ms; "},
		{"hangs up", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(len(content)))
			_, _ = w.Write(content[:5000])
		}, "URL: after 5000 bytes: unexpected EOF"},
		{"sends another build", sends(other), "URL: sent a wrong file: "},
		{"sends a page", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>\nlog in first\n</html>") },
			"URL: sent a wrong file: "},
		{"sends nothing at all", func(http.ResponseWriter, *http.Request) {}, "URL: sent a wrong file: "},
		{"leads in a circle", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path, http.StatusFound)
		}, "URL: stopped after 10 redirects"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			var asked atomic.Int32
			url := debuginfod(t, &asked, tc.answer)
			d := onlyServers(t, url)
			d.Timeout = 200 * time.Millisecond
			begin := time.Now()
			got, err := d.Vmlinux(t.Context(), wantedID(t), testRelease)
			want := ": " + strings.Replace(tc.want, "URL", url, 1)
			if !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), want) ||
				strings.Contains(err.Error(), "\n") {
				t.Errorf("got %q, %v, want %s", got, err, want)
			}
			if took := time.Since(begin); took > 2*time.Second {
				t.Errorf("took %v", took)
			}
			files, _ := filepath.Glob(filepath.Join(d.Cache, "*", "*"))
			for _, file := range files {
				if info, err := os.Stat(file); err != nil || info.Size() > 0 {
					t.Errorf("leftover file %s", file)
				}
			}
		})
	}
}

func TestServerThatIsNoneIsNamed(t *testing.T) {
	for server, want := range map[string]string{
		"http://127.0.0.1:1":  "http://127.0.0.1:1: dial tcp 127.0.0.1:1: connect: connection refused",
		"gopher://example":    `gopher://example: unsupported protocol scheme "gopher"`,
		"http://[::1":         "http://[::1: ",
		"debuginfod.example/": `debuginfod.example/: unsupported protocol scheme ""`,
	} {
		_, err := onlyServers(t, server).Vmlinux(t.Context(), wantedID(t), testRelease)
		if !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// TestSlowButSteadyServerIsWaitedFor has one that takes longer than the timeout for the whole, but
// not for any step.
func TestSlowButSteadyServerIsWaitedFor(t *testing.T) {
	full := large(t)
	content, err := os.ReadFile(full)
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int32
	d := onlyServers(t, debuginfod(t, &asked, func(w http.ResponseWriter, _ *http.Request) {
		for at := 0; at < len(content); at += downloadStep {
			time.Sleep(400 * time.Millisecond)
			_, _ = w.Write(content[at:min(at+downloadStep, len(content))])
			w.(http.Flusher).Flush()
		}
	}))
	d.Timeout = 900 * time.Millisecond
	if got, err := d.Vmlinux(t.Context(), wantedID(t), testRelease); got != d.cached() || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestEndlessPatienceIsForServersThatHang(t *testing.T) {
	var asked atomic.Int32
	d := onlyServers(t, debuginfod(t, &asked, hangs(0)))
	d.Timeout = -1
	bored := errors.New("bored")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 300*time.Millisecond, bored)
	defer cancel()
	begin := time.Now()
	_, err := d.Vmlinux(ctx, wantedID(t), testRelease)
	took := time.Since(begin)
	if !errors.Is(err, bored) || errors.Is(err, ErrNotFound) || took < 250*time.Millisecond || took > 2*time.Second {
		t.Errorf("got %v after %v", err, took)
	}
}

// TestAMissIsRemembered has servers that know nothing: they are asked again when the file that says
// so is old.
func TestAMissIsRemembered(t *testing.T) {
	tests := []struct {
		name    string
		age     time.Duration
		control string // cache_miss_s; "" for no such file
		asks    int32
	}{
		{"just now", 0, "", 1},
		{"nine minutes ago", 9 * time.Minute, "", 1},
		{"eleven minutes ago", 11 * time.Minute, "", 2},
		{"eleven minutes ago, but for an hour", 11 * time.Minute, "3600\n", 1},
		{"to be forgotten at once", 0, "0", 2},
		{"nonsense", 9 * time.Minute, "some time", 1},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			var asked atomic.Int32
			url := debuginfod(t, &asked, says(404))
			d := onlyServers(t, url, url+"/")
			if tc.control != "" {
				if err := errors.Join(os.MkdirAll(d.Cache, 0o755),
					os.WriteFile(filepath.Join(d.Cache, "cache_miss_s"), []byte(tc.control), 0o644)); err != nil {
					t.Fatal(err)
				}
			}
			_, err := d.Vmlinux(t.Context(), wantedID(t), testRelease)
			if !errors.Is(err, ErrNotFound) || asked.Load() != 2 {
				t.Fatalf("got %v, asked %d", err, asked.Load())
			}
			checkMode(t, d.cached(), 0)
			then := time.Now().Add(-tc.age)
			if err := os.Chtimes(d.cached(), then, then); err != nil {
				t.Fatal(err)
			}
			_, err = d.Vmlinux(t.Context(), wantedID(t), testRelease)
			if !errors.Is(err, ErrNotFound) || asked.Load() != 2*tc.asks {
				t.Errorf("got %v, asked %d", err, asked.Load())
			}
			if tc.asks == 1 && !strings.Contains(err.Error(), "debuginfod servers had no file when asked") {
				t.Errorf("got %v", err)
			}
			info, err := os.Stat(d.cached())
			if err != nil || tc.asks == 2 && time.Since(info.ModTime()) > time.Minute {
				t.Errorf("the new miss: %+v, %v", info, err)
			}
		})
	}
}

// TestNoAnswerIsNoMiss has one server that knows nothing and one that might.
func TestNoAnswerIsNoMiss(t *testing.T) {
	var asked atomic.Int32
	d := onlyServers(t, debuginfod(t, &asked, says(404)), debuginfod(t, &asked, says(502)))
	for range 2 {
		_, err := d.Vmlinux(t.Context(), wantedID(t), testRelease)
		want := d.Servers[0] + ": does not have it; " + d.Servers[1] + ": answers 502 Bad Gateway"
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v", err)
		}
	}
	if asked.Load() != 4 {
		t.Errorf("asked %d times", asked.Load())
	}
}

// TestAFileThatSaysTooLittleIsNotLoadedAgain has a server that serves the right build without
// DWARF.
func TestAFileThatSaysTooLittleIsNotLoadedAgain(t *testing.T) {
	var asked atomic.Int32
	d := onlyServers(t, debuginfod(t, &asked, sends(strip(t, vmlinuxLike(t, testBuildID), "-g"))))
	for range 2 {
		if _, err := d.Vmlinux(t.Context(), wantedID(t), testRelease); !errors.Is(err, ErrNotFound) ||
			!strings.Contains(err.Error(), d.cached()+" has no debug information") {
			t.Errorf("got %v", err)
		}
	}
	if asked.Load() != 1 {
		t.Errorf("asked %d times", asked.Load())
	}
}

func TestCacheThatIsNoneIsNamed(t *testing.T) {
	var asked atomic.Int32
	d := onlyServers(t, debuginfod(t, &asked, sends(vmlinuxLike(t, testBuildID))))
	d.Cache = install(t, "debuginfod_test.go", d.root, "file")
	_, err := d.Vmlinux(t.Context(), wantedID(t), testRelease)
	if !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "no directory to store it") {
		t.Errorf("got %v", err)
	}
	d.Cache = ""
	_, err = d.Vmlinux(t.Context(), wantedID(t), testRelease)
	if !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "DEBUGINFOD_CACHE_PATH") || asked.Load() != 0 {
		t.Errorf("got %v, asked %d", err, asked.Load())
	}
}

// TestGDBSharesTheCache has gdb, by libdebuginfod, find what the finder got, and the other way
// round.
func TestGDBSharesTheCache(t *testing.T) {
	full := vmlinuxLike(t, testBuildID)
	var asked atomic.Int32
	url := debuginfod(t, &asked, sends(full))
	d := onlyServers(t, url)
	bare := strip(t, full)
	inGDB := func(urls string) string {
		t.Setenv("DEBUGINFOD_URLS", urls)
		t.Setenv("DEBUGINFOD_CACHE_PATH", d.Cache)
		return symtest.Tool(t, "", "gdb", "-nx", "-batch", "-ex", "set debuginfod enabled on", "-ex", "file "+bare,
			"-ex", "info line main", "-ex", "echo")
	}
	if !strings.Contains(symtest.Tool(t, "", "gdb", "--configuration"), "--with-debuginfod") {
		t.Skip("this gdb knows nothing of debuginfod")
	}
	const line = "starts at address"
	if out := inGDB(""); strings.Contains(out, line) {
		t.Fatalf("without a server, too: %s", out)
	}
	find := func() (string, error) { return d.Vmlinux(t.Context(), wantedID(t), testRelease) }
	if got, err := find(); got != d.cached() || err != nil || asked.Load() != 1 {
		t.Fatalf("got %q, %v, asked %d", got, err, asked.Load())
	}
	if out := inGDB(url); !strings.Contains(out, line) || asked.Load() != 1 {
		t.Errorf("gdb asked %d times in all: %s", asked.Load(), out)
	}
	if err := os.RemoveAll(d.Cache); err != nil {
		t.Fatal(err)
	}
	if out := inGDB(url); !strings.Contains(out, line) || asked.Load() != 2 {
		t.Errorf("gdb asked %d times in all: %s", asked.Load(), out)
	}
	if got, err := find(); got != d.cached() || err != nil || asked.Load() != 2 {
		t.Errorf("got %q, %v, asked %d", got, err, asked.Load())
	}
}

// TestGDBSharesMisses has gdb know that it need not ask.
func TestGDBSharesMisses(t *testing.T) {
	var asked atomic.Int32
	d := onlyServers(t, debuginfod(t, &asked, says(404)))
	if _, err := d.Vmlinux(t.Context(), wantedID(t), testRelease); err == nil || asked.Load() != 1 {
		t.Fatalf("got %v, asked %d", err, asked.Load())
	}
	t.Setenv("DEBUGINFOD_URLS", d.Servers[0])
	t.Setenv("DEBUGINFOD_CACHE_PATH", d.Cache)
	bare := strip(t, vmlinuxLike(t, testBuildID))
	symtest.Tool(t, "", "gdb", "-nx", "-batch", "-ex", "set debuginfod enabled on", "-ex", "file "+bare)
	if asked.Load() != 1 {
		t.Errorf("gdb asked again")
	}
}

func TestEnvironmentForDebuginfod(t *testing.T) {
	home := t.TempDir()
	old := t.TempDir()
	if err := os.Mkdir(filepath.Join(old, ".debuginfod_client_cache"), 0o755); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		env  map[string]string
		want Places
	}{
		{"nothing", nil, Places{}},
		{"home", map[string]string{"HOME": home}, Places{Cache: home + "/.cache/debuginfod_client"}},
		{"caches", map[string]string{"HOME": home, "XDG_CACHE_HOME": "/c"}, Places{Cache: "/c/debuginfod_client"}},
		{"caches without home", map[string]string{"XDG_CACHE_HOME": "/c"}, Places{Cache: "/c/debuginfod_client"}},
		// libdebuginfod 0.188 takes the old one before XDG_CACHE_HOME.
		{"an old cache", map[string]string{"HOME": old, "XDG_CACHE_HOME": "/c"},
			Places{Cache: old + "/.debuginfod_client_cache"}},
		{"a cache by name", map[string]string{"HOME": old, "DEBUGINFOD_CACHE_PATH": "/mine"},
			Places{Cache: "/mine"}},
		{"servers", map[string]string{"DEBUGINFOD_URLS": " https://a \thttp://b:1/c/ "},
			Places{Servers: []string{"https://a", "http://b:1/c/"}}},
		{"signatures", map[string]string{"DEBUGINFOD_URLS": "https://a ima:enforcing https://b"},
			Places{Servers: []string{"https://a", "https://b"}}},
		{"patience", map[string]string{"DEBUGINFOD_TIMEOUT": "90"}, Places{Timeout: 90 * time.Second}},
		{"endless patience", map[string]string{"DEBUGINFOD_TIMEOUT": "0"}, Places{Timeout: -1}},
		{"negative patience", map[string]string{"DEBUGINFOD_TIMEOUT": "-3"}, Places{Timeout: -1}},
		{"no number", map[string]string{"DEBUGINFOD_TIMEOUT": "soon"}, Places{}},
		{"too much patience", map[string]string{"DEBUGINFOD_TIMEOUT": "9223372036854775807"}, Places{Timeout: -1}},
	}
	for _, tc := range tests {
		got := FromEnvironment(func(name string) string { return tc.env[name] })
		if diff := cmp.Diff(&tc.want, got, cmp.AllowUnexported(Places{})); diff != "" {
			t.Errorf("%s: %s", tc.name, diff)
		}
	}
}
