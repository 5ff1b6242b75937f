package bridge

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Opener opens the memory that a source URL of one scheme names. It refuses query keys it does not
// know.
type Opener func(ctx context.Context, source *url.URL, o *Options) (Memory, error)

// Options are what every source may be opened with. The zero value is usual.
type Options struct {
	// Timeout is how long a source may leave one request unanswered, all retries included; 0 means
	// its own default.
	Timeout time.Duration
	// Logger takes what a person may want to know; nil means silence.
	Logger hclog.Logger
}

// Log returns the logger, which is never nil.
func (o *Options) Log() hclog.Logger {
	if o == nil || o.Logger == nil {
		return hclog.NewNullLogger()
	}
	return o.Logger
}

// Open opens a source with the opener of its scheme: a URL such as nettlp://192.168.10.1?local=192.168.10.3 or
// file:/tmp/ram, or a bare path, whose scheme is file. A nil o means the defaults.
func Open(ctx context.Context, source string, openers map[string]Opener, o *Options) (Memory, error) {
	if o == nil {
		o = &Options{}
	}
	u, err := parseSource(source)
	if err != nil {
		return nil, err
	}
	open, ok := openers[u.Scheme]
	if !ok {
		known := strings.Join(slices.Sorted(maps.Keys(openers)), ", ")
		return nil, fmt.Errorf("source %q: unknown scheme %q; known are %s", source, u.Scheme, known)
	}
	m, err := open(ctx, u, o)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", source, err)
	}
	return m, nil
}

// parseSource makes a URL of a source. A bare path may hold any character, also those that mean
// something in a URL.
func parseSource(source string) (*url.URL, error) {
	scheme, rest, ok := strings.Cut(source, ":")
	if !ok || scheme == "" || strings.ContainsAny(scheme, "/.?") {
		return &url.URL{Scheme: "file", Opaque: source}, nil
	}
	if scheme == "file" {
		path, query, _ := strings.Cut(rest, "?")
		return &url.URL{Scheme: "file", Opaque: strings.TrimPrefix(path, "//"), RawQuery: query}, nil
	}
	u, err := url.Parse(source)
	if err != nil {
		return nil, fmt.Errorf("source %q is neither a URL nor a path: %w", source, err)
	}
	return u, nil
}

// Query holds the keys of a source URL and remembers which were asked for, so that a misspelt one
// is an error.
type Query struct {
	values url.Values
	known  []string // keys that were asked for
	errs   []error
}

// NewQuery parses the query of a source URL.
func NewQuery(u *url.URL) (*Query, error) {
	v, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("query %q: %w", u.RawQuery, err)
	}
	return &Query{values: v}, nil
}

// Text takes the value of key, or def if it is not there.
func (q *Query) Text(key, def string) string {
	q.known = append(q.known, key)
	vs, ok := q.values[key]
	delete(q.values, key)
	if !ok {
		return def
	}
	if len(vs) != 1 {
		q.errs = append(q.errs, fmt.Errorf("%s is given %d times", key, len(vs)))
	}
	return vs[0]
}

// Texts takes all values of a key that may be given more than once.
func (q *Query) Texts(key string) []string {
	q.known = append(q.known, key)
	vs := q.values[key]
	delete(q.values, key)
	return vs
}

// Int takes the value of key, a decimal or 0x number within lo and hi, or def if it is not there.
func (q *Query) Int(key string, def, lo, hi int) int {
	s := q.Text(key, "")
	if s == "" {
		return def
	}
	var n int
	if _, err := fmt.Sscanf(s+"\n", "%v\n", &n); err != nil || n < lo || n > hi {
		q.errs = append(q.errs, fmt.Errorf("%s=%s: want a number from %d to %d", key, s, lo, hi))
	}
	return n
}

// Duration takes the value of key, such as 500ms, or def if it is not there.
func (q *Query) Duration(key string, def time.Duration) time.Duration {
	s := q.Text(key, "")
	if s == "" {
		return def
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		q.errs = append(q.errs, fmt.Errorf("%s=%s: want a time such as 500ms", key, s))
	}
	return d
}

// Done returns the first error of the query. A key that was not asked for is an error.
func (q *Query) Done() error {
	if len(q.errs) > 0 {
		return q.errs[0]
	}
	for _, key := range slices.Sorted(maps.Keys(q.values)) {
		return fmt.Errorf("unknown key %q in the source URL; known are %s", key, strings.Join(q.known, ", "))
	}
	return nil
}
