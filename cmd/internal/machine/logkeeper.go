package machine

import (
	"io"

	"github.com/hashicorp/go-hclog"
)

// logKeeper keeps the entries of a log until it is known whether they matter.
type logKeeper struct {
	hclog.InterceptLogger
	kept []logEntry
}

type logEntry struct {
	level   hclog.Level
	message string
	args    []any
}

func newLogKeeper() *logKeeper {
	l := &logKeeper{InterceptLogger: hclog.NewInterceptLogger(&hclog.LoggerOptions{Output: io.Discard})}
	l.RegisterSink(l)
	return l
}

// Accept keeps an entry; it is for the logger alone.
func (l *logKeeper) Accept(_ string, level hclog.Level, message string, args ...any) {
	l.kept = append(l.kept, logEntry{level, message, args})
}

// replay writes what was kept to another log.
func (l *logKeeper) replay(to hclog.Logger) {
	for _, e := range l.kept {
		to.Log(e.level, e.message, e.args...)
	}
}
